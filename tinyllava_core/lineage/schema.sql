-- The tables of lineage.duckdb: small rows that tasks leave as fragments. The big ones are views: files.sql, views.sql.
-- Times are UTC. A test holds each stage's table against its dataclass in tinyllava_core/results.py.

CREATE TABLE run (
    run_id VARCHAR,
    recipe VARCHAR,            -- its name
    recipe_yaml VARCHAR,       -- the whole recipe, overrides applied
    recipe_sha256 VARCHAR,
    overrides_json VARCHAR,    -- the dotted keys that were set on it
    flow_run_id VARCHAR,       -- Prefect's
    git_commit VARCHAR,        -- of this package's clone; NULL outside one
    git_dirty BOOLEAN,
    packages_json VARCHAR,     -- name -> version
    host VARCHAR,
    seed BIGINT,
    started_at TIMESTAMP
);
COMMENT ON TABLE run IS 'One row per start of the pipeline: which recipe, which code, which packages.';

CREATE TABLE run_end (
    run_id VARCHAR,
    ended_at TIMESTAMP,
    state VARCHAR              -- Prefect's word: Completed, Failed, Cancelled, ...
);
COMMENT ON TABLE run_end IS 'How a run ended; a run without a row here is still going, or was killed.';

CREATE TABLE begun (
    run_id VARCHAR,
    stage VARCHAR,
    name VARCHAR,
    fingerprint VARCHAR,       -- of the artifact that is being made: views steps and metrics have it already
    started_at TIMESTAMP
);
COMMENT ON TABLE begun IS 'One row per training that a run began: what a running run is at, and where a killed one was.';

CREATE TABLE killed (
    run_id VARCHAR,
    found_at TIMESTAMP         -- when its process was found gone
);
COMMENT ON TABLE killed IS 'Runs whose process is gone without having said how the run ended.';

CREATE TABLE stage (
    run_id VARCHAR,
    stage VARCHAR,             -- the artifact folder's word
    name VARCHAR,              -- which one: a source, a training stage, a benchmark (or "<benchmark> blind", "<benchmark> blur-3"), or nothing
    fingerprint VARCHAR,
    made BOOLEAN,              -- false: the artifact was there already
    started_at TIMESTAMP,
    seconds DOUBLE,
    task_run_id VARCHAR        -- Prefect's
);
COMMENT ON TABLE stage IS 'One row per stage of a run: which artifact it gave, and whether it had to make it.';

CREATE TABLE artifact (
    fingerprint VARCHAR,       -- of (stage, version, spec, inputs): the folder's name
    stage VARCHAR,
    version BIGINT,            -- of the stage's code
    folder VARCHAR,            -- where it was made
    spec_json VARCHAR,         -- everything besides the inputs that decided it
    made_at TIMESTAMP,
    seconds DOUBLE,
    size_bytes BIGINT
);
COMMENT ON TABLE artifact IS 'One row per finished artifact folder.';

CREATE TABLE edge (
    fingerprint VARCHAR,
    input VARCHAR,             -- what the input is to the artifact
    input_fingerprint VARCHAR
);
COMMENT ON TABLE edge IS 'Which artifact went into which: the graph of everything that was made.';

CREATE TABLE "start" (
    fingerprint VARCHAR,
    source VARCHAR,            -- the folder it was in
    size_bytes BIGINT,         -- of the model's safetensors
    checkpoint_sha256 VARCHAR
);
COMMENT ON TABLE "start" IS 'Stage start: a checkpoint from elsewhere that a run began with.';

CREATE TABLE choose (
    fingerprint VARCHAR,
    source VARCHAR,
    commit VARCHAR,            -- of the hub's data set; NULL: it is a folder
    num_rows BIGINT,           -- of the subsets that were asked for
    num_refused BIGINT,        -- whose texts cannot be used: refused.parquet
    num_left_out BIGINT,       -- by filters, or of components that the manifest does not take
    num_chosen BIGINT,         -- rows of the source that is made of them
    num_row_groups BIGINT,     -- that hold them
    size_bytes BIGINT,         -- of those row groups, in the files
    size_bytes_in_all BIGINT   -- of all row groups
);
COMMENT ON TABLE choose IS 'Stage choose: which rows of a big data set are brought here, decided before one picture is fetched.';

CREATE TABLE download (
    fingerprint VARCHAR,
    source VARCHAR,
    kind VARCHAR,              -- source | images | benchmark
    licence VARCHAR,
    urls VARCHAR,              -- space-separated
    annotations VARCHAR,       -- path, relative to the artifact's folder or absolute; NULL: an image set
    annotations_sha256 VARCHAR,
    image_root VARCHAR,        -- folder of its own images, relative to the artifact's folder or absolute
    num_files BIGINT,          -- images of its own; those of its image sets are downloads of their own
    num_expected BIGINT,       -- of an image set, as the manifest knows it
    size_bytes BIGINT,
    num_requested BIGINT,      -- rows of a URL table
    num_failed BIGINT          -- of those, not downloaded: view failures
);
COMMENT ON TABLE download IS 'Stage download: one source, image set or benchmark on this disk.';

CREATE TABLE inspect (
    fingerprint VARCHAR,
    source VARCHAR,
    num_records BIGINT,        -- in the annotation file
    num_good BIGINT,
    num_dropped BIGINT,        -- each with its reason: view dropped
    num_left_out BIGINT,       -- of components that the manifest does not take
    num_images BIGINT,         -- different image files of good records
    image_bytes BIGINT,
    num_repaired BIGINT,       -- good records with something mended, in the record or in one of its images
    num_noted BIGINT           -- good records with something remarkable that was left as it is
);
COMMENT ON TABLE inspect IS 'Stage inspect: every record and image of one source looked at once.';

CREATE TABLE mix (
    fingerprint VARCHAR,
    num_sources BIGINT,
    num_records BIGINT,        -- a record that the shares take twice counts twice
    num_distinct_records BIGINT,
    num_images BIGINT,
    num_text_only BIGINT,
    num_left_out BIGINT,       -- good records that are not in it: view left_out
    num_duplicates BIGINT,     -- dropped as a duplicate of an earlier record: view duplicates
    num_contaminated BIGINT,   -- dropped because it shows a benchmark's picture: view contamination
    seed BIGINT
);
COMMENT ON TABLE mix IS 'Stage mix: which records, in which order; the rows are in view mixes.';

CREATE TABLE overlap (
    fingerprint VARCHAR,
    against VARCHAR,           -- itself: view duplicates; benchmarks: view contamination
    num_records BIGINT,        -- of the mix, that overlap
    num_pairs BIGINT
);
COMMENT ON TABLE overlap IS 'Stage overlap: records of a mix that say the same as others, or show a benchmark''s picture; reported, not dropped.';

CREATE TABLE shard (
    fingerprint VARCHAR,
    num_shards BIGINT,
    num_records BIGINT,
    size_bytes BIGINT,         -- of the tars
    sha256 VARCHAR             -- of the tars' own sha256, in order
);
COMMENT ON TABLE shard IS 'Stage shard: a mix as WebDataset tars; the rows are in view placements.';

CREATE TABLE plan (
    fingerprint VARCHAR,
    stage VARCHAR,             -- pretrain | second_pretrain | sft
    num_steps BIGINT,
    num_records BIGINT,        -- planned places: records x epochs
    num_voided BIGINT,         -- each with its reason: view voided
    num_truncated BIGINT,      -- planned places whose record is cut to max_length
    num_held_out BIGINT,       -- left out of training, to measure the loss on
    num_void BIGINT,           -- planned places that weigh nothing, because the recipe's `void` names their records
    num_packs BIGINT,
    num_tokens BIGINT,         -- image tokens included
    num_supervised BIGINT,
    num_images BIGINT,
    num_tiles BIGINT,          -- pictures through the encoder: the images, or what they are cut into
    padding_fraction DOUBLE    -- of num_packs x the longest pack of their step: ranks side by side wait so long
);
COMMENT ON TABLE plan IS 'Stage plan: every optimizer step laid out beforehand; the rows are in view plans.';

CREATE TABLE features (
    fingerprint VARCHAR,
    stage VARCHAR,             -- pretrain
    num_images BIGINT,         -- different ones
    num_patches BIGINT,
    width BIGINT,
    dtype VARCHAR,             -- float32 | bfloat16
    size_bytes BIGINT,
    seconds DOUBLE             -- of the last life
);
COMMENT ON TABLE features IS 'A frozen encoder''s features of every image of a mix.';

CREATE TABLE train (
    fingerprint VARCHAR,
    stage VARCHAR,             -- pretrain | second_pretrain | sft
    num_steps BIGINT,
    num_records BIGINT,
    num_tokens BIGINT,
    first_loss DOUBLE,
    last_loss DOUBLE,          -- mean over the last tenth of the steps
    held_out_loss DOUBLE,      -- after the last step; NULL where no records were held out
    best_step BIGINT,          -- after which it was lowest: the weights in best/
    seconds DOUBLE,            -- of all lives of the process
    num_lives BIGINT,          -- 1: never killed
    num_parameters BIGINT,
    num_trained BIGINT,
    checkpoint_sha256 VARCHAR,
    device VARCHAR,
    world_size BIGINT,
    engine VARCHAR,            -- what stepped the weights in the last life: torch | fsdp keep | fsdp reshard | deepspeed zero-1, -2, -3
    attention VARCHAR          -- the kernel that packed records attended by: varlen | flash-attn | flex | loop
);
COMMENT ON TABLE train IS 'Stages pretrain, second_pretrain and sft: a trained checkpoint; what happened is in views steps, lives, parts, ledger.';

CREATE TABLE evaluate (
    fingerprint VARCHAR,
    benchmark VARCHAR,
    scorer VARCHAR,
    variant VARCHAR,           -- which of the scorer's ways to ask and score
    blind BOOLEAN,             -- every image blanked
    corruption VARCHAR,        -- of every image: blur | noise | jpeg | rotate | crop; NULL: none
    severity BIGINT,           -- of the corruption, 1 to 5
    metric VARCHAR,            -- NULL, as the five below: the right answers are not public
    score DOUBLE,              -- of max_score
    stderr DOUBLE,
    ci_low DOUBLE,             -- 95 % interval
    ci_high DOUBLE,
    max_score DOUBLE,          -- 100: the score is a percentage
    num_questions BIGINT,
    num_clusters BIGINT,       -- draws of the error bar: pictures, or what else questions share
    num_unparsed BIGINT,
    judge VARCHAR,             -- NULL: scored by rules
    prompt_sha256 VARCHAR,     -- of all that was asked, in order
    answers_sha256 VARCHAR,
    submission VARCHAR         -- file in the artifact's folder to upload to the benchmark's server; NULL: scored here
);
COMMENT ON TABLE evaluate IS 'Stage evaluate: one benchmark on one checkpoint, under one condition; the rows are in views answers, items and subscores.';

CREATE TABLE attribute (
    fingerprint VARCHAR,
    stage VARCHAR,             -- whose records: pretrain | second_pretrain | sft
    layers VARCHAR,            -- whose gradients: head | all
    num_records BIGINT,        -- planned places
    num_questions BIGINT,
    num_numbers BIGINT,        -- of one gradient, a byte each
    damping DOUBLE,            -- of the kernel, in units of the mean eigenvalue
    store_bytes BIGINT,        -- of the records' gradients
    seconds DOUBLE,            -- of the gradients, in the last life
    score_seconds DOUBLE,      -- of comparing every record with every answer
    in_run BOOLEAN             -- the records' gradients are those that the training kept, each at its own step
);
COMMENT ON TABLE attribute IS 'Stage attribute: what ties a checkpoint''s answers to the records of its plan; the rows are in views attributions and attributed_groups.';

CREATE TABLE retrain (
    fingerprint VARCHAR,
    stage VARCHAR,             -- pretrain | second_pretrain | sft
    num_steps BIGINT,
    num_records BIGINT,        -- planned places
    num_void BIGINT,           -- of those, that weigh nothing
    last_loss DOUBLE,          -- mean over the last tenth of the steps
    checkpoint_sha256 VARCHAR, -- of the weights, which were taken away again
    seconds DOUBLE
);
COMMENT ON TABLE retrain IS 'Stage retrain: a training once more without some of its records, to see what they did; the rows are in view outcomes.';

CREATE TABLE attribution_check (
    fingerprint VARCHAR,
    what VARCHAR,              -- halves | removal
    num_rows BIGINT,
    num_trainings BIGINT
);
COMMENT ON TABLE attribution_check IS 'Stage attribution_check: a store held against retraining; the rows are in view attribution_checks.';

CREATE TABLE merge (
    fingerprint VARCHAR,
    stage VARCHAR,             -- pretrain | second_pretrain | sft
    num_checkpoints BIGINT,
    num_mixes BIGINT,
    num_questions BIGINT,
    seconds DOUBLE             -- of the last life
);
COMMENT ON TABLE merge IS 'Stage merge: weighted means of checkpoints, measured by the right answers.';

CREATE TABLE mix_search (
    fingerprint VARCHAR,
    num_groups BIGINT,
    num_mixes BIGINT,
    num_records BIGINT,        -- of each
    num_trained BIGINT,        -- mixes that were trained too, in one order
    num_orders BIGINT,         -- that the best were trained in
    foretold DOUBLE,           -- Spearman of merges and trainings over those; NULL: too few
    attainable DOUBLE,         -- beside the order's noise
    num_shown BIGINT           -- mixes better than the one as it is, beyond the orders' noise
);
COMMENT ON TABLE mix_search IS 'Stage mix_search: mixes foretold by merged experts, the best confirmed in several orders; the rows are in view searched_mixes.';

CREATE TABLE export (
    fingerprint VARCHAR,
    format VARCHAR,
    size_bytes BIGINT,
    max_logit_difference DOUBLE,
    equal_generations BOOLEAN
);
COMMENT ON TABLE export IS 'Stage export: a checkpoint in a format that others load.';

CREATE TABLE report (
    fingerprint VARCHAR,
    num_tables BIGINT,
    num_figures BIGINT,
    size_bytes BIGINT
);
COMMENT ON TABLE report IS 'Stage report: the page of a run.';
