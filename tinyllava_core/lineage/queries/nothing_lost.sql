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
    counted.good,
    counted.quarantined,
    inspect.num_left_out AS left_out,
    inspect.num_records - counted.good - counted.quarantined - inspect.num_left_out AS missing,
    counted.twice
FROM (SELECT DISTINCT * FROM inspect) AS inspect
JOIN counted ON counted.fingerprint = inspect.fingerprint
WHERE (inspect.source = $source OR $source IS NULL)
    AND counted.good > 0 -- a benchmark's questions are no records
ORDER BY
    inspect.source,
    inspect.fingerprint;
