-- Which benchmarks' pictures are in the training mixes? Per stage, benchmark and way of finding: pictures and records.
--
-- $run = null: a run id, or its first letters. null: the newest that has a mix.
-- $max_distance = null: of pictures found by their looks, only those whose hashes differ in at most so many bits. null: all.

SELECT
    split_part(used.name, ' ', 1) AS stage,
    contamination.benchmark,
    contamination.how,
    count(DISTINCT contamination.benchmark_image) AS benchmark_images,
    count(DISTINCT contamination.record_id) AS records,
    count(DISTINCT contamination.record_id) FILTER (WHERE contamination.dropped) AS dropped,
    min(contamination.distance) AS min_distance,
    max(contamination.distance) AS max_distance,
    arg_min(
        concat_ws(' ', contamination.benchmark_image, '=', contamination.record_id, contamination.image),
        (contamination.record_id, contamination.image)
    ) AS example
FROM used($run, 'mix') AS used
JOIN contamination ON contamination.fingerprint = used.fingerprint
WHERE used.stage IN ('mix', 'overlap')
    AND (
        $max_distance IS NULL
        OR contamination.how <> 'looks'
        OR contamination.distance <= CAST($max_distance AS INTEGER)
    )
GROUP BY
    split_part(used.name, ' ', 1),
    contamination.benchmark,
    contamination.how
ORDER BY
    stage,
    contamination.benchmark,
    benchmark_images DESC,
    contamination.how;
