-- Questions that stand out over all checkpoints scored here: wrong by each of three or more, or right without the picture by each.
--
-- $benchmark = null: a benchmark's name. null: all of them.

WITH answered AS (
    SELECT
        evaluate.benchmark,
        evaluate.blind,
        items.question_id,
        any_value(items.image) AS image,
        count(*) AS num_models,
        count(*) FILTER (WHERE items.score >= 0.5) AS num_right
    FROM items
    JOIN evaluate ON evaluate.fingerprint = items.fingerprint
    WHERE evaluate.corruption IS NULL AND ($benchmark IS NULL OR evaluate.benchmark = $benchmark)
    GROUP BY ALL
)
SELECT
    benchmark,
    question_id,
    image,
    num_models,
    if(blind, 'right without the picture', 'wrong by every model') AS why
FROM answered
WHERE if(blind, num_right = num_models, num_models >= 3 AND num_right = 0)
ORDER BY
    benchmark,
    why,
    question_id;
