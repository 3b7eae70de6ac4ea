-- The rows of left_out.parquet, in the canonical order. Tables given: candidate, left_out.
SELECT
    candidate.record_id,
    candidate.source,
    candidate.component,
    left_out.rule,
    left_out.value
FROM left_out
INNER JOIN candidate ON candidate.number = left_out.number
ORDER BY candidate.number;
