-- Views that join tables and views over files: what one asks for most.

CREATE VIEW source AS
SELECT
    download.source,
    download.kind,
    download.licence,
    download.urls,
    download.annotations_sha256,
    download.num_files,
    download.size_bytes,
    download.num_failed,
    inspected.num_records,
    inspected.num_good,
    inspected.num_dropped,
    inspected.num_images,
    download.fingerprint AS download_fingerprint,
    inspected.fingerprint AS inspect_fingerprint
FROM (SELECT DISTINCT * FROM download) AS download
LEFT JOIN (
    SELECT DISTINCT
        inspect.*,
        edge.input_fingerprint
    FROM inspect
    JOIN edge ON edge.fingerprint = inspect.fingerprint AND edge.input = 'download' -- not the image sets that it draws on
) AS inspected ON inspected.input_fingerprint = download.fingerprint;
COMMENT ON VIEW source IS 'One row per downloaded source, image set or benchmark, with what inspection found in it (image sets are inspected with the sources that draw on them).';

CREATE VIEW run_state AS
SELECT
    run.run_id,
    run.recipe,
    coalesce(run_end.state, CASE WHEN killed.run_id IS NOT NULL THEN 'Killed' ELSE 'Running' END) AS state,
    run.started_at,
    run_end.ended_at,
    newest.stage AS at_stage,
    newest.name AS at_name,
    newest.fingerprint AS at_fingerprint,
    last.step AS last_step,
    last.loss AS last_loss
FROM run
LEFT JOIN run_end ON run_end.run_id = run.run_id
LEFT JOIN (SELECT DISTINCT run_id FROM killed) AS killed ON killed.run_id = run.run_id
LEFT JOIN (
    SELECT
        run_id,
        arg_max(stage, started_at) AS stage,
        arg_max(name, started_at) AS name,
        arg_max(fingerprint, started_at) AS fingerprint
    FROM begun
    GROUP BY run_id
) AS newest ON newest.run_id = run.run_id AND run_end.run_id IS NULL
LEFT JOIN (
    SELECT
        run_id,
        arg_max(fingerprint, started_at) AS fingerprint
    FROM stage
    WHERE stage IN ('pretrain', 'second_pretrain', 'sft')
    GROUP BY run_id
) AS trained ON trained.run_id = run.run_id AND run_end.run_id IS NOT NULL
LEFT JOIN (
    SELECT
        fingerprint,
        max(step) AS step,
        arg_max(loss, step) AS loss
    FROM steps
    GROUP BY fingerprint
) AS last ON last.fingerprint = coalesce(newest.fingerprint, trained.fingerprint);
COMMENT ON VIEW run_state IS 'One row per run: Running, Killed, or how it ended, with the last step and loss of its last training; and what one that has not ended is at, with those so far.';

CREATE VIEW score AS
SELECT
    stage.run_id,
    run.recipe,
    evaluate.*,
    CASE
        WHEN evaluate.corruption IS NOT NULL THEN concat(evaluate.corruption, '-', evaluate.severity)
        WHEN evaluate.blind THEN 'blind'
        ELSE 'seen'
    END AS condition,
    checkpoint.input_fingerprint AS checkpoint
FROM (SELECT DISTINCT run_id, fingerprint FROM stage WHERE stage = 'evaluate') AS stage
JOIN (SELECT DISTINCT * FROM evaluate) AS evaluate ON evaluate.fingerprint = stage.fingerprint
LEFT JOIN run ON run.run_id = stage.run_id
LEFT JOIN (
    SELECT DISTINCT
        edge.fingerprint,
        edge.input_fingerprint
    FROM edge
    WHERE edge.input = 'checkpoint'
) AS checkpoint ON checkpoint.fingerprint = evaluate.fingerprint;
COMMENT ON VIEW score IS 'One row per score of a run: seen, blind or with corrupted images, with the artifact whose checkpoint it is the score of: a training, or stage start.';

CREATE VIEW score_clean AS
WITH trained_on AS (
    SELECT DISTINCT
        stage.run_id,
        contamination.benchmark,
        contamination.benchmark_image
    FROM stage
    JOIN contamination ON contamination.fingerprint = stage.fingerprint
    WHERE NOT contamination.dropped
)
SELECT
    score.run_id,
    score.recipe,
    score.fingerprint,
    score.checkpoint,
    score.benchmark,
    score.condition,
    score.metric,
    score.score,
    count(*) AS num_questions,
    count(trained_on.benchmark_image) AS num_contaminated,
    100 * avg(items.score) AS mean_item,
    100 * avg(items.score) FILTER (trained_on.benchmark_image IS NULL) AS mean_item_clean
FROM score
JOIN items ON items.fingerprint = score.fingerprint
LEFT JOIN trained_on ON trained_on.run_id = score.run_id
    AND trained_on.benchmark = score.benchmark
    AND trained_on.benchmark_image = items.image
GROUP BY ALL;
COMMENT ON VIEW score_clean IS 'Each score of a run with the mean over its questions, and over those whose pictures no mix that trained the checkpoint has. The mean is of items: where the metric is none (F1, MME), the report has the metric itself without them.';

CREATE VIEW asked AS
SELECT
    items.fingerprint,
    items.question_id,
    items.image,
    answers.prompt,
    items.answer,
    items.parsed,
    items.score,
    items.facets,
    items.unparsed
FROM items
JOIN answers ON answers.fingerprint = items.fingerprint
    AND coalesce(json_extract_string(answers.metadata, '$.question_id'), answers.question_id) = items.question_id;
COMMENT ON VIEW asked IS 'One row per scored answer with what was asked: items and answers, whose files number questions in two ways.';

CREATE VIEW ledger AS
SELECT
    trained.fingerprint,
    trained.stage,
    plans.step,
    plans.pack,
    plans.slot,
    plans.epoch,
    plans.position,
    plans.record_id,
    plans.source,
    plans.num_tokens,
    plans.num_supervised,
    plans.num_images,
    plans.truncated,
    trained.life,
    plans.fingerprint AS plan_fingerprint
FROM (
    SELECT
        fingerprint,
        stage,
        step,
        max(life) AS life
    FROM steps
    GROUP BY ALL
) AS trained
JOIN (SELECT DISTINCT fingerprint, input_fingerprint FROM edge) AS edge ON edge.fingerprint = trained.fingerprint
JOIN plans ON plans.fingerprint = edge.input_fingerprint AND plans.step = trained.step;
COMMENT ON VIEW ledger IS 'Which record was seen at which step of which training: one row per planned place that was trained.';

-- Not a view, because it needs to know of which run: FROM used('toy-2026', 'plan').
CREATE MACRO used(of_run, needs) AS TABLE
SELECT DISTINCT
    stage,
    name,
    fingerprint
FROM stage
WHERE starts_with(run_id, of_run)
    OR (of_run IS NULL AND run_id = (SELECT arg_max(run_id, started_at) FROM stage WHERE stage = needs));
COMMENT ON MACRO TABLE used IS 'The artifacts of a run: a run id or its first letters, or NULL for the newest that has a certain stage.';

CREATE TABLE publication (
    workspace VARCHAR,         -- the views' paths are absolute: a moved workspace is published again
    files VARCHAR,             -- the views that found files
    sql_sha256 VARCHAR,        -- of schema.sql, files.sql and views.sql
    published_at TIMESTAMP
);
COMMENT ON TABLE publication IS 'When this file was written, and from where.';
