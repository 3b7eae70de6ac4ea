-- The scores of one run, each benchmark once under each condition: seen, blind, corrupted. Answers without a score are not in it. $run: a run id.

WITH wanted AS (
    SELECT run_id
    FROM run
    WHERE run_id = $run
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
