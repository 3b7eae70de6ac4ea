-- Each score of a run with and without the questions whose pictures the training mixes have.
--
-- $run = null: a run id, or its first letters. null: the newest run that has scores.

SELECT
    benchmark,
    condition,
    metric,
    round(score, 2) AS score,
    num_questions,
    num_contaminated,
    round(mean_item, 2) AS mean_item,
    round(mean_item_clean, 2) AS mean_item_clean,
    round(mean_item_clean - mean_item, 2) AS change
FROM score_clean
WHERE starts_with(run_id, $run) OR (
    $run IS NULL
    AND run_id = (SELECT arg_max(run_id, started_at) FROM stage WHERE stage = 'evaluate')
)
ORDER BY
    benchmark,
    condition = 'seen' DESC,
    condition;
