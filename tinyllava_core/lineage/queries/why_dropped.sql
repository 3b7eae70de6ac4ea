-- What was asked for and not trained on, and why? Failed downloads, dropped records, records that fit no sequence.
--
-- $run = null: a run id, or its first letters. null: the newest that looked at its data.
-- $source = null: only this source. null: all.

WITH used AS (
    FROM used($run, 'inspect')
),
lost AS (
    SELECT
        'download' AS stage,
        used.name AS source,
        failures.reason,
        concat_ws(': ', failures.url, failures.detail) AS example
    FROM failures
    JOIN used ON used.fingerprint = failures.fingerprint
    UNION ALL
    SELECT
        'inspect' AS stage,
        dropped.source,
        dropped.reason,
        concat_ws(': ', dropped.record_id, dropped.detail) AS example
    FROM dropped
    JOIN used ON used.fingerprint = dropped.fingerprint
    UNION ALL
    SELECT
        concat_ws(' ', 'plan', used.name) AS stage,
        voided.source,
        voided.reason,
        voided.record_id AS example
    FROM voided
    JOIN used ON used.fingerprint = voided.fingerprint
)
SELECT
    stage,
    source,
    reason,
    count(*) AS count,
    min(example) AS example
FROM lost
WHERE source = $source OR $source IS NULL
GROUP BY
    stage,
    source,
    reason
ORDER BY
    stage,
    source,
    count DESC,
    reason;
