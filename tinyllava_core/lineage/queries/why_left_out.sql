-- Which good records are not in the mix, and by which rule? Filters, benchmarks, duplicates, shares and caps.
--
-- $run = null: a run id, or its first letters. null: the newest that has a mix.
-- $stage = null: only this training stage. null: all.

SELECT
    used.name AS stage,
    left_out.source,
    left_out.component,
    left_out.rule,
    count(*) AS count,
    arg_min(concat_ws(': ', left_out.record_id, left_out.value), left_out.record_id) AS example
FROM used($run, 'mix') AS used
JOIN left_out ON left_out.fingerprint = used.fingerprint
WHERE used.stage = 'mix' AND (used.name = $stage OR $stage IS NULL)
GROUP BY
    used.name,
    left_out.source,
    left_out.component,
    left_out.rule
ORDER BY
    stage,
    left_out.source,
    left_out.component,
    count DESC,
    left_out.rule;
