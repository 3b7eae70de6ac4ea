-- The scores of one run, each benchmark once, seen before blind. $run: a run id, or its first letters.

WITH wanted AS (
    SELECT run_id
    FROM run
    WHERE starts_with(run_id, $run)
    ORDER BY run_id = $run DESC, started_at DESC
    LIMIT 1
)
SELECT DISTINCT
    wanted.run_id,
    score.fingerprint,
    score.benchmark,
    score.blind,
    score.scorer,
    score.variant,
    score.judge,
    score.prompt_sha256
FROM wanted
LEFT JOIN score ON score.run_id = wanted.run_id
ORDER BY
    score.benchmark,
    score.blind;
