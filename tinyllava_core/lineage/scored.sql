-- The scores of one run, each benchmark once under each condition: seen, blind, corrupted. Answers without a score are not in it. $run: a run id, or its first letters.

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
    score.condition,
    score.blind,
    score.corruption,
    score.severity,
    score.scorer,
    score.variant,
    score.judge,
    score.prompt_sha256
FROM wanted
LEFT JOIN score ON score.run_id = wanted.run_id AND score.score IS NOT NULL
ORDER BY
    score.benchmark,
    score.blind,
    score.corruption NULLS FIRST,
    score.severity;
