-- What was mended in the records that were taken, and what was noted and left as it is?
--
-- $source = null: only this source. null: all.

SELECT
    source,
    what,
    word,
    count(*) AS records,
    min(record_id) AS example
FROM (
    SELECT
        source,
        'repair' AS what,
        unnest(repairs) AS word,
        record_id
    FROM records
    UNION ALL
    SELECT
        source,
        'note' AS what,
        unnest(notes) AS word,
        record_id
    FROM records
)
WHERE source = $source OR $source IS NULL
GROUP BY
    source,
    what,
    word
ORDER BY
    source,
    what DESC,
    records DESC,
    word;
