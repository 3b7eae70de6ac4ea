-- Which answers did a training find hardest, each within its group? Look at their labels first: high losses find wrong ones best.
--
-- $checkpoint = null: an artifact's fingerprint, its first digits, or a path with it inside. null: the newest sft.
-- $by = source: what makes a group: source | component
-- $top = 10: answers of each group

WITH seen AS (
    SELECT
        record_id,
        source,
        turn,
        arg_max(loss_sum / num_supervised, step) AS loss, -- of its last epoch
        arg_max(num_supervised, step) AS tokens,
        max(step) AS step
    FROM record_losses
    WHERE starts_with(fingerprint, $checkpoint)
        OR list_contains(string_split($checkpoint, '/'), fingerprint)
        OR ($checkpoint IS NULL AND fingerprint = (SELECT arg_max(fingerprint, made_at) FROM artifact WHERE stage = 'sft'))
    GROUP BY
        record_id,
        source,
        turn
),

named AS (
    SELECT
        seen.*,
        CASE WHEN $by = 'component' THEN coalesce(records.component, seen.source) ELSE seen.source END AS "group"
    FROM seen
    LEFT JOIN (SELECT DISTINCT record_id, component FROM records WHERE $by = 'component') AS records USING (record_id)
)

SELECT
    "group",
    row_number() OVER hardest AS place,
    count(*) OVER whole AS of_answers,
    record_id,
    turn,
    loss,
    median(loss) OVER whole AS median_loss,
    tokens,
    step
FROM named
WINDOW
    hardest AS (PARTITION BY "group" ORDER BY loss DESC, record_id, turn),
    whole AS (PARTITION BY "group")
QUALIFY place <= CAST($top AS INTEGER)
ORDER BY
    "group",
    place;
