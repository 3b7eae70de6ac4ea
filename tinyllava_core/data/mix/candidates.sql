-- The records that may come into a mix, and those that a rule has left out. View given: record.
--
-- A record's number is its place in the order of the record ids: the canonical order, which no seed changes.
CREATE TEMP TABLE candidate AS
SELECT
    row_number() OVER (ORDER BY record_id) - 1 AS number,
    record_id,
    source,
    component,
    num_images
FROM record;

CREATE TEMP TABLE left_out (
    number BIGINT,
    rule VARCHAR,              -- a filter as the recipe says it; contaminated, exact duplicate, near duplicate, share, cap
    value VARCHAR              -- what the rule met
);

CREATE TEMP VIEW kept AS
SELECT candidate.*
FROM candidate
ANTI JOIN left_out ON left_out.number = candidate.number;
