-- Records that show a benchmark's picture, each pair once, by the surest way in which it was found. Makes `contaminated`, and
-- adds its records to left_out if they are to be dropped. Tables given: match, asked, picture, shown, kept. Bound: $dropped.
CREATE TEMP TABLE contaminated AS
SELECT DISTINCT
    kept.number,
    kept.record_id,
    kept.source,
    picture.path AS image,
    asked.benchmark,
    asked.path AS benchmark_image,
    found.how,
    CAST(
        CASE WHEN bit_count(picture.phash) > 0 AND bit_count(asked.phash) > 0
            THEN bit_count(xor(picture.phash, asked.phash))
        END AS SMALLINT
    ) AS distance,
    $dropped AS dropped
FROM (SELECT picture, asked, arg_min(how, rank) AS how FROM match GROUP BY picture, asked) AS found
INNER JOIN picture ON picture.id = found.picture
INNER JOIN asked ON asked.id = found.asked
INNER JOIN shown ON shown.picture = found.picture
INNER JOIN kept ON kept.number = shown.number;

INSERT INTO left_out
SELECT
    number,
    'contaminated',
    min(benchmark || ' ' || benchmark_image || ' by ' || how)
FROM contaminated
WHERE dropped
GROUP BY number;
