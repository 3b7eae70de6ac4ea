-- Did each source get the share that the recipe wanted? Wanted beside planned records, tokens, supervised tokens (percent).
--
-- $run = null: a run id, or its first letters. null: the newest that has a plan.

WITH used AS (
    SELECT DISTINCT
        stage,
        name,
        fingerprint
    FROM stage
    WHERE starts_with(run_id, $run)
        OR ($run IS NULL AND run_id = (SELECT arg_max(run_id, started_at) FROM stage WHERE stage = 'plan'))
),
good AS (
    SELECT DISTINCT
        inspect.source,
        inspect.num_good
    FROM inspect
    JOIN used ON used.fingerprint = inspect.fingerprint
),
-- The recipe's entries, wherever the mix's spec keeps them: every object with a source and a share. A source may be
-- given as a path to its manifest, whose file name is then taken for its name.
entries AS (
    SELECT DISTINCT
        used.name AS stage,
        parse_filename(leaf.value ->> '$.source', true) AS source,
        CAST(leaf.value ->> '$.share' AS DOUBLE) AS share,
        CAST(leaf.value ->> '$.cap' AS DOUBLE) AS cap
    FROM used
    JOIN artifact ON artifact.fingerprint = used.fingerprint,
    json_tree(artifact.spec_json) AS leaf
    WHERE used.stage = 'mix'
        AND leaf.type = 'OBJECT'
        AND json_exists(leaf.value, '$.source')
        AND json_exists(leaf.value, '$.share')
),
wanted AS (
    SELECT
        entries.stage,
        entries.source,
        entries.share,
        least(entries.share * good.num_good, coalesce(entries.cap, 'infinity')) AS records
    FROM entries
    JOIN good ON good.source = entries.source
),
planned AS (
    SELECT
        used.name AS stage,
        plans.source,
        count(*) AS records,
        sum(plans.num_tokens) AS tokens,
        sum(plans.num_supervised) AS supervised
    FROM plans
    JOIN used ON used.fingerprint = plans.fingerprint
    WHERE used.stage = 'plan'
    GROUP BY
        used.name,
        plans.source
)
SELECT
    stage,
    source,
    wanted.share,
    round(100 * wanted.records / sum(wanted.records) OVER (PARTITION BY stage), 1) AS wanted,
    round(100 * planned.records / sum(planned.records) OVER (PARTITION BY stage), 1) AS records,
    round(100 * planned.tokens / sum(planned.tokens) OVER (PARTITION BY stage), 1) AS tokens,
    round(100 * planned.supervised / sum(planned.supervised) OVER (PARTITION BY stage), 1) AS supervised,
    planned.records AS num_records
FROM wanted
FULL JOIN planned USING (stage, source)
ORDER BY
    stage,
    num_records DESC,
    source;
