-- The rows of duplicates.parquet, in the canonical order. Tables given: duplicate, candidate.
SELECT
    candidate.record_id,
    candidate.source,
    leader.record_id AS first_record_id,
    duplicate.how,
    duplicate.distance,
    duplicate.dropped
FROM duplicate
INNER JOIN candidate ON candidate.number = duplicate.number
INNER JOIN candidate AS leader ON leader.number = duplicate.first
ORDER BY duplicate.number;
