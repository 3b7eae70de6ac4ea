-- One stage's mix: which records, how often, in which order. Gives the rows of mix.parquet, in order; what no copy is taken
-- of goes to left_out.
--
-- Tables given: portion(number, source, component, share, max_records, source_max_records), one row for each component that
-- the mix names and one, without a component, for the rest of each source; kept and left_out, from candidates.sql.
-- Bound value: $seed.
--
-- A record's turn in the order is md5("<seed>:<record_id>:<repeat>"): a function of the seed and its name alone, so it is
-- the same on every machine, and a record that is added or dropped moves no other one past its neighbours.
CREATE TEMP TABLE copies AS
WITH
assigned AS (
    SELECT
        kept.*,
        coalesce(named.number, rest.number) AS portion
    FROM kept
    INNER JOIN portion AS rest ON rest.source = kept.source AND rest.component IS NULL
    LEFT JOIN portion AS named ON named.source = kept.source AND named.component = kept.component
),
-- how many rows each portion gives: its share of its records, half a record counting as one, and at most its cap
wanted AS (
    SELECT
        portion.number AS portion,
        CAST(floor(portion.share * count(*) + 0.5) AS BIGINT) AS num_by_share,
        coalesce(portion.max_records, 9223372036854775807) AS max_records,
        coalesce(portion.source_max_records, 9223372036854775807) AS source_max_records,
        CAST(greatest(ceil(portion.share), 1) AS BIGINT) AS num_repeats
    FROM portion
    INNER JOIN assigned ON assigned.portion = portion.number
    GROUP BY portion.number, portion.share, portion.max_records, portion.source_max_records
),
-- share 1.5: each record with repeat 0 and with repeat 1; the second is taken of half of them only, below
copied AS (
    SELECT
        assigned.number,
        assigned.record_id,
        assigned.source,
        assigned.component,
        assigned.num_images,
        assigned.portion,
        repeats.repeat,
        md5(CAST($seed AS VARCHAR) || ':' || assigned.record_id || ':' || CAST(repeats.repeat AS VARCHAR)) AS turn
    FROM assigned
    INNER JOIN wanted ON wanted.portion = assigned.portion
    INNER JOIN (
        SELECT unnest(range((SELECT max(num_repeats) FROM wanted))) AS repeat
    ) AS repeats ON repeats.repeat < wanted.num_repeats
),
-- within a portion: every record once before any is taken twice, and by turn within one repeat
ranked AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY portion ORDER BY repeat, turn, record_id) AS rank
    FROM copied
),
limited AS (
    SELECT
        ranked.*,
        wanted.source_max_records,
        CASE
            WHEN ranked.rank > wanted.num_by_share THEN 'share'
            WHEN ranked.rank > wanted.max_records THEN 'cap'
        END AS limit_met
    FROM ranked
    INNER JOIN wanted ON wanted.portion = ranked.portion
)
-- and the source's cap, in the same order, over what its portions give
SELECT
    * EXCLUDE (rank, limit_met, source_max_records),
    CASE
        WHEN limit_met IS NOT NULL THEN limit_met
        WHEN row_number() OVER (
            PARTITION BY source, limit_met ORDER BY repeat, turn, record_id
        ) > source_max_records THEN 'cap'
    END AS left_out_by
FROM limited;

INSERT INTO left_out
SELECT
    copies.number,
    copies.left_out_by,
    CASE copies.left_out_by
        WHEN 'share' THEN CAST(portion.share AS VARCHAR)
        ELSE CAST(least(portion.max_records, portion.source_max_records) AS VARCHAR)
    END || coalesce(' of ' || portion.component, '')
FROM copies
INNER JOIN portion ON portion.number = copies.portion
WHERE copies.repeat = 0 AND copies.left_out_by IS NOT NULL;

SELECT
    row_number() OVER (ORDER BY turn, record_id, repeat) - 1 AS position,
    record_id,
    source,
    component,
    CAST(repeat AS SMALLINT) AS repeat,
    num_images
FROM copies
WHERE left_out_by IS NULL
ORDER BY position;
