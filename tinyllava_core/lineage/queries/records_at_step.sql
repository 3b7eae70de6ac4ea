-- Which records made one optimizer step, pack by pack, and what do they say?
--
-- $step: the step, from 0.
-- $checkpoint = null: a training artifact's fingerprint, its first digits, or a path with it inside. null: the newest sft.

WITH RECURSIVE trained AS (
    SELECT fingerprint
    FROM train
    WHERE starts_with(fingerprint, $checkpoint)
        OR list_contains(string_split($checkpoint, '/'), fingerprint)
        OR ($checkpoint IS NULL AND fingerprint = (SELECT arg_max(fingerprint, made_at) FROM artifact WHERE stage = 'sft'))
),
upstream AS (
    SELECT
        fingerprint AS training,
        fingerprint
    FROM trained
    UNION
    SELECT
        upstream.training,
        edge.input_fingerprint
    FROM upstream
    JOIN edge ON edge.fingerprint = upstream.fingerprint
),
said AS (
    SELECT DISTINCT
        upstream.training,
        records.record_id,
        records.turns
    FROM upstream
    JOIN records ON records.fingerprint = upstream.fingerprint
)
SELECT
    ledger.stage,
    ledger.pack,
    ledger.slot,
    ledger.record_id,
    ledger.num_tokens AS tokens,
    ledger.num_supervised AS supervised,
    ledger.truncated,
    said.turns[1].text AS first_turn,
    said.turns[2].text AS second_turn
FROM ledger
JOIN trained ON trained.fingerprint = ledger.fingerprint
LEFT JOIN said ON said.training = ledger.fingerprint AND said.record_id = ledger.record_id
WHERE ledger.step = CAST($step AS INTEGER)
ORDER BY
    ledger.stage,
    ledger.fingerprint,
    ledger.pack,
    ledger.slot;
