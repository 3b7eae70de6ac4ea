-- Is every record of every source accounted for? Good + quarantined + left out = all, counted in the tables themselves.
--
-- $source = null: only this source. null: all.

WITH counted AS (
    SELECT
        fingerprint,
        count(*) FILTER (WHERE is_good) AS good,
        count(*) FILTER (WHERE NOT is_good) AS quarantined,
        count(*) - count(DISTINCT index) AS twice
    FROM (
        SELECT
            fingerprint,
            index,
            true AS is_good
        FROM records
        UNION ALL
        SELECT
            fingerprint,
            index,
            false AS is_good
        FROM dropped
    )
    GROUP BY fingerprint
)
SELECT
    inspect.source,
    inspect.num_records AS records,
    coalesce(counted.good, 0) AS good,
    coalesce(counted.quarantined, 0) AS quarantined,
    inspect.num_left_out AS left_out,
    inspect.num_records - coalesce(counted.good + counted.quarantined, 0) - inspect.num_left_out AS missing,
    coalesce(counted.twice, 0) AS twice
FROM (SELECT DISTINCT * FROM inspect) AS inspect
LEFT JOIN counted ON counted.fingerprint = inspect.fingerprint
ANTI JOIN (SELECT inspect_fingerprint FROM source WHERE kind = 'benchmark') AS benchmark -- whose questions are no records
    ON benchmark.inspect_fingerprint = inspect.fingerprint
WHERE (inspect.source = $source OR $source IS NULL)
ORDER BY
    inspect.source,
    inspect.fingerprint;
