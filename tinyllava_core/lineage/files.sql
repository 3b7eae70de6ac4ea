-- The shape of each view over files in artifact folders: views.py says which files, and makes a view of every table here.
-- `fingerprint` and `stage` come from the file's path; a column that a file does not have is NULL.

CREATE TABLE failures (
    fingerprint VARCHAR,
    url VARCHAR,
    name VARCHAR,
    reason VARCHAR,
    detail VARCHAR
);
COMMENT ON TABLE failures IS 'download: rows of URL tables that could not be had, each with its reason.';

CREATE TABLE attempts (
    fingerprint VARCHAR,
    url VARCHAR,
    name VARCHAR,
    attempt SMALLINT,          -- from 0; a later one is in a later pass over the table
    reason VARCHAR,            -- NULL: the file came
    http_status SMALLINT,      -- NULL: no answer
    size_bytes BIGINT,
    milliseconds DOUBLE
);
COMMENT ON TABLE attempts IS 'download: every attempt at every row of the URL tables, with what the server answered.';

CREATE TABLE records (
    fingerprint VARCHAR,
    record_id VARCHAR,
    source VARCHAR,
    index INTEGER,             -- place in the annotation file, from 0
    original_id VARCHAR,
    component VARCHAR,         -- of its source, told by its picture's path or its subset; the source's name where it has none
    turns STRUCT(role VARCHAR, text VARCHAR, supervised BOOLEAN)[],
    images STRUCT(
        path VARCHAR,
        sha256 VARCHAR,
        width INTEGER,
        height INTEGER,
        format VARCHAR,
        size_bytes BIGINT,
        repairs VARCHAR[],
        repaired_sha256 VARCHAR
    )[],
    num_images SMALLINT,
    num_turns INTEGER,
    num_chars INTEGER,
    repairs VARCHAR[],         -- of the record and of its images
    notes VARCHAR[],           -- what is remarkable and was left as it is
    scores STRUCT(name VARCHAR, of_record DOUBLE, of_answers DOUBLE[])[], -- ratings that came with it; NULLs: not rated
    subset VARCHAR,            -- of the data set that it is a row of; NULL: of none, as the next two
    file VARCHAR,              -- in that data set
    row BIGINT                 -- of that file, from 0
);
COMMENT ON TABLE records IS 'inspect: every good record of every source, with its turns and images.';

CREATE TABLE images (
    fingerprint VARCHAR,
    source VARCHAR,
    path VARCHAR,
    sha256 VARCHAR,
    width INTEGER,
    height INTEGER,
    format VARCHAR,            -- of the bytes, whatever the name says
    size_bytes BIGINT,
    repairs VARCHAR[],
    repaired_sha256 VARCHAR,   -- of the bytes that the shards hold; NULL: the file's own
    mode VARCHAR,              -- of the pixels in the file: RGB, L, P, CMYK, ...
    orientation TINYINT,       -- EXIF's, 1 to 8
    frames INTEGER,
    pixel_hash VARCHAR,        -- xxh3_128 of width, height and RGB pixels
    phash UBIGINT,             -- near for near pictures: bit_count(xor(a, b))
    notes VARCHAR[],
    reason VARCHAR,            -- NULL: good
    detail VARCHAR
);
COMMENT ON TABLE images IS 'inspect: every image file that a record names, good or not.';

CREATE TABLE dropped (
    fingerprint VARCHAR,
    record_id VARCHAR,
    source VARCHAR,
    index INTEGER,
    original_id VARCHAR,
    component VARCHAR,
    reason VARCHAR,
    detail VARCHAR,
    record_json VARCHAR        -- as the annotation file had it
);
COMMENT ON TABLE dropped IS 'inspect: the quarantine: every record that was not taken, with its reason.';

CREATE TABLE mixes (
    fingerprint VARCHAR,
    position BIGINT,
    record_id VARCHAR,
    source VARCHAR,
    component VARCHAR,
    repeat SMALLINT,           -- how many times the record came before
    num_images SMALLINT,
    question SMALLINT          -- of the record, from 0, where a mix takes records apart; NULL: all of it
);
COMMENT ON TABLE mixes IS 'mix: the order of the records.';

CREATE TABLE left_out (
    fingerprint VARCHAR,
    record_id VARCHAR,
    source VARCHAR,
    component VARCHAR,
    rule VARCHAR,              -- a filter as the recipe says it; contaminated, exact duplicate, near duplicate, share, cap
    value VARCHAR              -- what the rule met
);
COMMENT ON TABLE left_out IS 'mix: good records of its sources that are not in it, each with the rule that left it out.';

CREATE TABLE duplicates (
    fingerprint VARCHAR,
    record_id VARCHAR,
    source VARCHAR,
    first_record_id VARCHAR,   -- the one that stays, if others are dropped
    how VARCHAR,               -- exact | near
    distance SMALLINT,         -- bits in which the perceptual hashes differ; NULL: text only
    dropped BOOLEAN
);
COMMENT ON TABLE duplicates IS 'mix (dropped), overlap (reported): records that say the same about the same picture as an earlier one.';

CREATE TABLE contamination (
    fingerprint VARCHAR,
    record_id VARCHAR,
    source VARCHAR,
    image VARCHAR,             -- as the record names it
    benchmark VARCHAR,
    benchmark_image VARCHAR,   -- as the benchmark's questions name it: items.image
    how VARCHAR,               -- bytes | pixels | coco_id | vg_id | openimages_id | looks: the surest of them
    distance SMALLINT,         -- bits in which the perceptual hashes differ
    dropped BOOLEAN
);
COMMENT ON TABLE contamination IS 'mix (dropped), overlap (reported): records that show a picture which a benchmark asks about.';

CREATE TABLE placements (
    fingerprint VARCHAR,
    position BIGINT,
    shard INTEGER,
    place INTEGER,
    key VARCHAR,
    record_id VARCHAR,
    source VARCHAR,
    num_images SMALLINT,
    json_offset BIGINT,        -- bytes in the tar
    json_size BIGINT,
    json_sha256 VARCHAR,
    image_offsets BIGINT[],
    image_sizes BIGINT[],
    image_sha256 VARCHAR[],    -- of the inspected files
    image_fields VARCHAR[],    -- names of the members without the key
    image_transforms VARCHAR[], -- what was done to an image; NULL: the file's own bytes
    stored_sha256 VARCHAR[]    -- of the bytes in the tar; NULL: image_sha256
);
COMMENT ON TABLE placements IS 'shard: where each record and image lies, to the byte.';

CREATE TABLE plans (
    fingerprint VARCHAR,
    step INTEGER,
    pack INTEGER,
    slot INTEGER,
    epoch INTEGER,
    position BIGINT,
    record_id VARCHAR,
    source VARCHAR,
    shard INTEGER,
    place INTEGER,
    num_tokens INTEGER,
    num_supervised INTEGER,
    num_images SMALLINT,
    truncated BOOLEAN,
    void BOOLEAN               -- it weighs nothing, because the recipe's `void` names it; NULL: the plan voids none
);
COMMENT ON TABLE plans IS 'plan: every planned place: which record, in which pack of which optimizer step.';

CREATE TABLE voided (
    fingerprint VARCHAR,
    position BIGINT,
    record_id VARCHAR,
    source VARCHAR,
    reason VARCHAR
);
COMMENT ON TABLE voided IS 'plan: records of a mix that cannot be trained on, each with its reason.';

CREATE TABLE steps (
    fingerprint VARCHAR,
    stage VARCHAR,             -- pretrain | second_pretrain | sft
    step INTEGER,
    loss DOUBLE,
    lr_vision DOUBLE,          -- NULL: frozen
    lr_connector DOUBLE,
    lr_language DOUBLE,
    grad_norm DOUBLE,
    num_records INTEGER,
    num_tokens BIGINT,
    num_supervised BIGINT,
    seconds DOUBLE,
    life INTEGER
);
COMMENT ON TABLE steps IS 'train: every optimizer step that was taken.';

CREATE TABLE metrics (
    fingerprint VARCHAR,
    stage VARCHAR,
    step INTEGER,
    loss DOUBLE,
    loss_by_source MAP(VARCHAR, DOUBLE), -- mean over each source's supervised tokens
    lr MAP(VARCHAR, DOUBLE),   -- of each trained part
    grad_norm DOUBLE,          -- before clipping
    grad_norm_by_part MAP(VARCHAR, DOUBLE),
    seconds DOUBLE,
    samples_per_s DOUBLE,
    tokens_per_s DOUBLE,
    data_wait_share DOUBLE,    -- part of the step in which rank 0 waited for its packs
    mfu DOUBLE,                -- model FLOP utilisation; NULL where the device's peak is not known
    peak_memory_bytes BIGINT   -- NULL on a CPU
);
COMMENT ON TABLE metrics IS 'train: what the curves show of every step.';

CREATE TABLE measured (
    fingerprint VARCHAR,
    stage VARCHAR,
    step INTEGER,              -- measured after it
    loss DOUBLE,               -- mean over the supervised tokens of the held-out records
    loss_by_source MAP(VARCHAR, DOUBLE),
    is_best BOOLEAN            -- the lowest so far
);
COMMENT ON TABLE measured IS 'train: the loss on records that were held out of training.';

CREATE TABLE held_out (
    fingerprint VARCHAR,
    position BIGINT,
    record_id VARCHAR,
    source VARCHAR,
    num_tokens INTEGER,
    num_supervised INTEGER
);
COMMENT ON TABLE held_out IS 'plan: records kept out of training, with all that share an image, to measure the loss on.';

CREATE TABLE record_losses (
    fingerprint VARCHAR,
    stage VARCHAR,             -- pretrain | second_pretrain | sft
    step INTEGER,
    pack INTEGER,
    slot INTEGER,              -- of the record in the pack, as in plans
    turn SMALLINT,             -- which of the record's supervised answers, from 0
    record_id VARCHAR,
    source VARCHAR,
    loss_sum FLOAT,            -- over the answer's tokens, before the step's update
    num_supervised INTEGER     -- those tokens
);
COMMENT ON TABLE record_losses IS 'train: the loss of every answer of every record at its own step, of trainings that have ended.';

CREATE TABLE lives (
    fingerprint VARCHAR,
    stage VARCHAR,
    life INTEGER,
    from_step INTEGER,
    started_at TIMESTAMP,
    world_size INTEGER,
    device VARCHAR
);
COMMENT ON TABLE lives IS 'train: one row per life of the training process; a killed run has several.';

CREATE TABLE parts (
    fingerprint VARCHAR,
    stage VARCHAR,
    part VARCHAR,              -- vision | connector | language
    num_parameters BIGINT,
    num_trained BIGINT,
    trainable_from_layer INTEGER,
    lr DOUBLE,
    num_tensors_trained INTEGER,
    num_tensors_moved INTEGER,
    moved BOOLEAN              -- did its tensors change? looked at, not assumed
);
COMMENT ON TABLE parts IS 'train: the three parts of the model and what training did to them.';

CREATE TABLE answers (
    fingerprint VARCHAR,
    question_id VARCHAR,       -- as LLaVA's files number it; where that is not unique, metadata has the one that items have
    prompt VARCHAR,
    text VARCHAR,
    answer_id VARCHAR,
    model_id VARCHAR,
    metadata JSON
);
COMMENT ON TABLE answers IS 'evaluate: every answer, as the model gave it.';

CREATE TABLE items (
    fingerprint VARCHAR,
    question_id VARCHAR,
    image VARCHAR,
    answer VARCHAR,
    parsed VARCHAR,            -- what the scorer read in the answer
    score DOUBLE,              -- 0..1
    cluster VARCHAR,           -- what it shares with others: one draw of the error bar
    facets VARCHAR[],          -- the sub-scores that it counts in
    counts DOUBLE[],           -- further numbers that a benchmark's measures are made of
    unparsed BOOLEAN           -- the scorer could make nothing of the answer
);
COMMENT ON TABLE items IS 'evaluate: every answer, scored.';

CREATE TABLE attributions (
    fingerprint VARCHAR,
    benchmark VARCHAR,
    question_id VARCHAR,
    record_id VARCHAR,
    source VARCHAR,
    rank SMALLINT,             -- 1, 2, ..: pulls most for the answer given; -1, -2, ..: most against it
    score FLOAT,               -- what the rank is by: of cosine and kernel, each in standard deviations over the answer's records
    cosine FLOAT,              -- never to be summed: sums of it rank groups backwards
    kernel FLOAT               -- what attributed_groups sums
);
COMMENT ON TABLE attributions IS 'attribute: the records at either end of each answer''s ranking. Only ranks within one answer mean something; attribution_checks says how far.';

CREATE TABLE attributed_groups (
    fingerprint VARCHAR,
    benchmark VARCHAR,
    question_id VARCHAR,
    source VARCHAR,
    num_records INTEGER,
    kernel_sum FLOAT           -- orders groups for one answer; leaving a group out is what shows it
);
COMMENT ON TABLE attributed_groups IS 'attribute: the kernel scores of each answer, summed over each source.';

CREATE TABLE outcomes (
    fingerprint VARCHAR,
    benchmark VARCHAR,
    question_id VARCHAR,
    text VARCHAR,
    answer VARCHAR,            -- as the first training gave it
    was_right BOOLEAN,         -- NULL: the right answers are not public
    loss FLOAT,                -- of that answer here, summed over its tokens
    greedy BOOLEAN             -- it would be given again: at each token the likeliest
);
COMMENT ON TABLE outcomes IS 'retrain: what became of the first training''s answers.';

CREATE TABLE attribution_checks (
    fingerprint VARCHAR,
    what VARCHAR,              -- halves: agreement over random halves | removal: one answer without its first records
    benchmark VARCHAR,         -- of a removal, as the next
    question_id VARCHAR,
    method VARCHAR,            -- score | cosine | kernel | same answer | random
    num_subsets INTEGER,       -- halves, or sets of records that were removed
    num_orders INTEGER,        -- halves: orders that each was trained in
    in_order INTEGER,          -- removal: of which order, counted from the training's own
    num_removed INTEGER,       -- removal: records of one set
    given_before BOOLEAN,      -- removal: the undisturbed training of that order gives the answer
    agreement DOUBLE,          -- halves: Spearman with the mean over the orders, mean over the answers
    attainable DOUBLE,         -- halves: what a perfect method would reach, from how well the orders agree
    flips INTEGER,             -- removal: sets without which that answer is not given any more
    change DOUBLE,             -- removal: mean change of its log-probability
    is_calm BOOLEAN,           -- removal: every order gives the answer, with a margin that orders do not use up; NULL: one order, or an older check
    flips_alike DOUBLE         -- removal: part of the answers as sure as this that random records flip, in that order
);
COMMENT ON TABLE attribution_checks IS 'attribution_check: how far attributions agree with retraining. What has no row here is unchecked.';

CREATE TABLE searched_mixes (
    fingerprint VARCHAR,
    name VARCHAR,              -- a mix, or of a Shapley value the group
    kind VARCHAR,              -- as it is | even | drawn | subset | start | shapley
    groups VARCHAR[],
    counts BIGINT[],           -- records of each group; of a subset, 1 of each member
    merged DOUBLE,             -- log-probability of the right answers under the merged experts, mean over benchmarks; or the Shapley value
    merged_right DOUBLE,       -- part of the right answers that they would give
    num_orders BIGINT,         -- that it was trained in; 0: it was not
    trained_log_probability DOUBLE, -- mean over them
    sd_log_probability DOUBLE,
    trained_right DOUBLE,
    sd_right DOUBLE,
    gain_mean DOUBLE,          -- in log-probability, over the mix as it is; of the confirmed ones alone
    gain_low DOUBLE,           -- 95 % interval, the trainings as units, shared among the confirmed
    gain_high DOUBLE,
    gain_verdict VARCHAR,      -- shown | not shown | shown to be worse
    right_gain_mean DOUBLE,    -- in the part of right answers
    right_gain_low DOUBLE,
    right_gain_high DOUBLE,
    right_gain_verdict VARCHAR
);
COMMENT ON TABLE searched_mixes IS 'mix_search: every mix, what its merge foretold and what its trainings came to. Without trainings a row is a forecast.';

CREATE TABLE subscores (
    fingerprint VARCHAR,
    name VARCHAR,
    value DOUBLE,              -- of max_score
    stderr DOUBLE,
    ci_low DOUBLE,             -- 95 % interval
    ci_high DOUBLE,
    n BIGINT,                  -- items that it is made of
    num_clusters BIGINT,
    max_score DOUBLE
);
COMMENT ON TABLE subscores IS 'evaluate: every number that a benchmark reports besides its headline, with its error bar.';
