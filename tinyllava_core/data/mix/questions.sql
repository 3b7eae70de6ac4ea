-- The rows of mix.parquet where records are taken apart into their questions. Tables given: copies and portion, as in mix.sql, and
-- record. A record's questions stand beside each other; one that has a single question stays whole.
SELECT
    row_number() OVER (ORDER BY turn, record_id, repeat, question) - 1 AS position,
    record_id,
    source,
    component,
    CAST(repeat AS SMALLINT) AS repeat,
    num_images,
    CAST(question AS SMALLINT) AS question
FROM (
    SELECT
        copies.*,
        unnest(
            CASE
                WHEN portion.one_question AND counted.num_questions > 1 THEN range(counted.num_questions)
                ELSE [NULL]
            END
        ) AS question
    FROM copies
    INNER JOIN portion ON portion.number = copies.portion
    INNER JOIN (
        SELECT record_id, len(list_filter(turns, lambda turn: turn.role = 'user')) AS num_questions
        FROM record
    ) AS counted ON counted.record_id = copies.record_id
    WHERE copies.left_out_by IS NULL
) AS apart
ORDER BY position;
