-- Leave the records alone that a finished mix has not. Tables given: candidate, left_out. Bound: $mix, its mix.parquet.
INSERT INTO left_out
SELECT
    candidate.number,
    'not mixed',
    NULL
FROM candidate
ANTI JOIN read_parquet($mix) AS mixed ON mixed.record_id = candidate.record_id;
