-- What differs between two runs: code, packages, every setting that decided an artifact; and their scores side by side.
--
-- $first = null: a run id, or its first letters. null: the one before the second that got anywhere.
-- $second = null: a run id, or its first letters. null: the newest that got anywhere.

WITH second_run AS (
    SELECT *
    FROM run
    WHERE starts_with(run_id, $second) OR ($second IS NULL AND run_id IN (SELECT run_id FROM stage))
    ORDER BY started_at DESC
    LIMIT 1
),
first_run AS (
    SELECT run.*
    FROM run
    JOIN second_run ON run.run_id <> second_run.run_id
    WHERE starts_with(run.run_id, $first) OR (
        $first IS NULL
        AND run.started_at <= second_run.started_at
        AND run.run_id IN (SELECT run_id FROM stage)
    )
    ORDER BY run.started_at DESC
    LIMIT 1
),
both_runs AS (
    SELECT 1 AS side, * FROM first_run
    UNION ALL
    SELECT 2 AS side, * FROM second_run
),
used AS (
    SELECT DISTINCT
        both_runs.side,
        concat_ws(' ', stage.stage, nullif(nullif(stage.name, stage.stage), '')) AS stage,
        stage.fingerprint
    FROM both_runs
    JOIN stage ON stage.run_id = both_runs.run_id
    WHERE stage.stage <> 'report'
),
facts AS (
    SELECT side, 1 AS rank, 'run' AS kind, 'run' AS what, run_id AS value FROM both_runs
    UNION ALL
    SELECT side, 2, 'run', 'recipe', recipe FROM both_runs
    UNION ALL
    SELECT side, 3, 'run', 'seed', CAST(seed AS VARCHAR) FROM both_runs
    UNION ALL
    SELECT side, 4, 'run', 'git commit', concat(git_commit, CASE WHEN git_dirty THEN ' (changed)' END) FROM both_runs
    UNION ALL
    SELECT both_runs.side, 5, 'package', leaf.key, leaf.atom ->> '$'
    FROM both_runs, json_tree(both_runs.packages_json) AS leaf
    WHERE leaf.atom IS NOT NULL
    UNION ALL
    SELECT side, 6, 'stage', stage, 'there' FROM used
    UNION ALL
    -- Of a stage that only one of the runs has, every setting would differ: the line above says enough.
    SELECT DISTINCT used.side, 7, 'setting', concat(used.stage, ': ', substr(leaf.fullkey, 3)), leaf.atom ->> '$'
    FROM used
    JOIN artifact ON artifact.fingerprint = used.fingerprint,
    json_tree(artifact.spec_json) AS leaf
    WHERE leaf.atom IS NOT NULL
        AND used.stage IN (SELECT stage FROM used GROUP BY stage HAVING count(DISTINCT side) = 2)
),
scores AS (
    SELECT DISTINCT
        both_runs.side,
        8 AS rank,
        'score' AS kind,
        concat_ws(' ', score.benchmark, nullif(score.condition, 'seen'), score.metric) AS what,
        round(score.score, 2) AS value
    FROM both_runs
    JOIN score ON score.run_id = both_runs.run_id
),
compared AS (
    SELECT
        rank,
        kind,
        what,
        any_value(value) FILTER (WHERE side = 1) AS first,
        any_value(value) FILTER (WHERE side = 2) AS second,
        CAST(NULL AS DOUBLE) AS change
    FROM facts
    GROUP BY ALL
    UNION ALL
    SELECT
        rank,
        kind,
        what,
        CAST(any_value(value) FILTER (WHERE side = 1) AS VARCHAR),
        CAST(any_value(value) FILTER (WHERE side = 2) AS VARCHAR),
        round(any_value(value) FILTER (WHERE side = 2) - any_value(value) FILTER (WHERE side = 1), 2)
    FROM scores
    GROUP BY
        rank,
        kind,
        what
)
SELECT
    kind,
    what,
    first,
    second,
    change
FROM compared
WHERE kind = 'score' OR what = 'run' OR first IS DISTINCT FROM second
ORDER BY
    rank,
    what;
