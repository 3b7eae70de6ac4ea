-- Did each source and component get the share that the recipe wanted? Wanted beside planned records, tokens, supervised tokens (percent).
--
-- $run = null: a run id, or its first letters. null: the newest that has a plan.

WITH used AS (
    FROM used($run, 'plan')
),
-- The recipe's entries, wherever the mix's spec keeps them: every object with a source and a share. A source may be
-- given as a path to its manifest, whose file name is then taken for its name.
entries AS (
    SELECT DISTINCT
        used.name AS stage,
        parse_filename(leaf.value ->> '$.source', true) AS source,
        CAST(leaf.value ->> '$.share' AS DOUBLE) AS share,
        CAST(leaf.value ->> '$.cap' AS DOUBLE) AS cap,
        leaf.value -> '$.components' AS components
    FROM used
    JOIN artifact ON artifact.fingerprint = used.fingerprint,
    json_tree(artifact.spec_json) AS leaf
    WHERE used.stage = 'mix'
        AND leaf.type = 'OBJECT'
        AND json_exists(leaf.value, '$.source')
        AND json_exists(leaf.value, '$.share')
),
portions AS (
    SELECT
        entries.stage,
        entries.source,
        part.key AS component,
        CAST(part.value ->> '$.share' AS DOUBLE) AS share,
        CAST(part.value ->> '$.cap' AS DOUBLE) AS cap
    FROM entries,
    json_each(entries.components) AS part
),
-- what shares and caps choose from: what is in the mix, and what they left out of it
mixed AS (
    SELECT DISTINCT
        used.name AS stage,
        mixes.source,
        mixes.component,
        mixes.record_id
    FROM mixes
    JOIN used ON used.fingerprint = mixes.fingerprint AND used.stage = 'mix'
    UNION ALL
    SELECT
        used.name,
        left_out.source,
        left_out.component,
        left_out.record_id
    FROM left_out
    JOIN used ON used.fingerprint = left_out.fingerprint AND used.stage = 'mix'
    WHERE left_out.rule IN ('share', 'cap')
),
asked AS (
    SELECT
        mixed.stage,
        mixed.source,
        mixed.component,
        coalesce(portions.share, entries.share) AS share,
        least(coalesce(portions.share, entries.share) * count(*), coalesce(portions.cap, 'infinity')) AS records,
        entries.cap
    FROM mixed
    JOIN entries ON entries.stage = mixed.stage AND entries.source = mixed.source
    LEFT JOIN portions ON portions.stage = mixed.stage
        AND portions.source = mixed.source
        AND portions.component = mixed.component
    GROUP BY
        mixed.stage,
        mixed.source,
        mixed.component,
        portions.share,
        portions.cap,
        entries.share,
        entries.cap
),
wanted AS (
    SELECT
        stage,
        source,
        component,
        share,
        records * least(1, coalesce(cap, 'infinity') / sum(records) OVER (PARTITION BY stage, source)) AS records
    FROM asked
    WHERE records > 0
),
planned AS (
    SELECT
        used.name AS stage,
        plans.source,
        component.component,
        count(*) AS records,
        sum(plans.num_tokens) AS tokens,
        sum(plans.num_supervised) AS supervised
    FROM plans
    JOIN used ON used.fingerprint = plans.fingerprint AND used.stage = 'plan'
    LEFT JOIN (
        SELECT DISTINCT
            used.name AS stage,
            mixes.record_id,
            mixes.component
        FROM mixes
        JOIN used ON used.fingerprint = mixes.fingerprint AND used.stage = 'mix'
    ) AS component ON component.stage = used.name AND component.record_id = plans.record_id
    GROUP BY
        used.name,
        plans.source,
        component.component
)
SELECT
    coalesce(wanted.stage, planned.stage) AS stage,
    coalesce(wanted.source, planned.source) AS source,
    coalesce(wanted.component, planned.component) AS component,
    wanted.share,
    round(100 * wanted.records / sum(wanted.records) OVER by_stage, 1) AS wanted,
    round(100 * planned.records / sum(planned.records) OVER by_stage, 1) AS records,
    round(100 * planned.tokens / sum(planned.tokens) OVER by_stage, 1) AS tokens,
    round(100 * planned.supervised / sum(planned.supervised) OVER by_stage, 1) AS supervised,
    planned.records AS num_records
FROM wanted
FULL JOIN planned ON planned.stage = wanted.stage
    AND planned.source = wanted.source
    AND planned.component IS NOT DISTINCT FROM wanted.component
WINDOW by_stage AS (PARTITION BY coalesce(wanted.stage, planned.stage))
ORDER BY
    stage,
    num_records DESC,
    source,
    component;
