-- Which data trained a checkpoint, through all its stages? Per source: records, distinct records, tokens, shares.
--
-- $checkpoint = null: an artifact's fingerprint, its first digits, or a path with it inside. null: the newest sft.

WITH RECURSIVE upstream AS (
    SELECT fingerprint
    FROM artifact
    WHERE starts_with(fingerprint, $checkpoint)
        OR list_contains(string_split($checkpoint, '/'), fingerprint)
        OR ($checkpoint IS NULL AND fingerprint = (SELECT arg_max(fingerprint, made_at) FROM artifact WHERE stage = 'sft'))
    UNION
    SELECT edge.input_fingerprint
    FROM upstream
    JOIN edge ON edge.fingerprint = upstream.fingerprint
)
SELECT
    stage,
    fingerprint,
    source,
    count(*) AS records,
    count(DISTINCT record_id) AS distinct_records,
    sum(num_tokens) AS tokens,
    round(100 * count(*) / sum(count(*)) OVER (PARTITION BY fingerprint), 1) AS percent_of_records,
    round(100 * sum(num_tokens) / sum(sum(num_tokens)) OVER (PARTITION BY fingerprint), 1) AS percent_of_tokens
FROM ledger
WHERE fingerprint IN (SELECT fingerprint FROM upstream)
GROUP BY
    stage,
    fingerprint,
    source
ORDER BY
    stage,
    fingerprint,
    records DESC,
    source;
