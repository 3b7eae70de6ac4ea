-- Which training saw an image, in which records, at which steps?
--
-- $sha256: the image's sha256, or its first digits.

WITH placed AS (
    SELECT DISTINCT
        fingerprint,
        position,
        sha256
    FROM (
        SELECT
            fingerprint,
            position,
            unnest(image_sha256) AS sha256
        FROM placements
    )
    WHERE starts_with(sha256, $sha256)
)
SELECT
    ledger.stage,
    ledger.fingerprint,
    placed.sha256,
    ledger.record_id,
    count(*) AS times,
    list(ledger.step ORDER BY ledger.step) AS steps
FROM placed
JOIN edge ON edge.input_fingerprint = placed.fingerprint
JOIN ledger ON ledger.plan_fingerprint = edge.fingerprint AND ledger.position = placed.position
GROUP BY
    ledger.stage,
    ledger.fingerprint,
    placed.sha256,
    ledger.record_id
ORDER BY
    ledger.stage,
    ledger.fingerprint,
    min(ledger.step),
    ledger.record_id;
