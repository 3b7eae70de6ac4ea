-- Add the duplicates that are to be dropped to left_out. Tables given: duplicate, candidate.
INSERT INTO left_out
SELECT
    duplicate.number,
    duplicate.how || ' duplicate',
    candidate.record_id
FROM duplicate
INNER JOIN candidate ON candidate.number = duplicate.first
WHERE duplicate.dropped;
