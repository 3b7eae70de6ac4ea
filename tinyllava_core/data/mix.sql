-- One stage's mix: which records, how often, in which order.
--
-- Tables given: entry(source, share, max_records), one row for each source of the mix; record, the sources'
-- records.parquet together. Bound value: $seed.
--
-- A record's turn in the order is md5("<seed>:<record_id>:<repeat>"): a function of the seed and its name alone, so it is
-- the same on every machine, and a record that is added or dropped moves no other one past its neighbours.
WITH
-- how many rows each source gives: its share of its records, half a record counting as one, and at most its cap
wanted AS (
    SELECT
        entry.source,
        least(
            CAST(floor(entry.share * count(*) + 0.5) AS BIGINT),
            coalesce(entry.max_records, 9223372036854775807)
        ) AS num_rows,
        CAST(ceil(entry.share) AS BIGINT) AS num_repeats
    FROM entry
    INNER JOIN record ON record.source = entry.source
    GROUP BY entry.source, entry.share, entry.max_records
),
-- share 1.5: each record with repeat 0 and with repeat 1; the second is taken of half of them only, below
copy AS (
    SELECT
        record.source,
        record.record_id,
        record.num_images,
        repeats.repeat,
        md5(CAST($seed AS VARCHAR) || ':' || record.record_id || ':' || CAST(repeats.repeat AS VARCHAR)) AS turn
    FROM record
    INNER JOIN wanted ON wanted.source = record.source
    INNER JOIN (
        SELECT unnest(range((SELECT max(num_repeats) FROM wanted))) AS repeat
    ) AS repeats ON repeats.repeat < wanted.num_repeats
),
-- within a source: every record once before any is taken twice, and by turn within one repeat
ranked AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY source ORDER BY repeat, turn, record_id) AS rank
    FROM copy
)
SELECT
    row_number() OVER (ORDER BY ranked.turn, ranked.record_id, ranked.repeat) - 1 AS position,
    ranked.record_id,
    ranked.source,
    CAST(ranked.repeat AS SMALLINT) AS repeat,
    ranked.num_images
FROM ranked
INNER JOIN wanted ON wanted.source = ranked.source
WHERE ranked.rank <= wanted.num_rows
ORDER BY position;
