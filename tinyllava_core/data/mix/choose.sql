-- Which rows of a data set are brought here. Gives the row groups of chosen.parquet, in the order in which they come.
--
-- Views and tables given: record, kept; row_group(subset, file, row_group, first_row, size_bytes), every row group of the data set.
-- Bound values: $seed, $records.
--
-- A row group is fetched whole, so whole ones are taken, in the order of md5("<seed>:<subset>:<file>:<number>"), until so many
-- rows are there; of the last one the first rows alone. So a smaller number is the beginning of a bigger one.
WITH
usable AS (
    SELECT
        row_group.subset,
        row_group.file,
        row_group.row_group,
        row_group.size_bytes,
        list(record.row ORDER BY record.row) AS rows,
        count(*) AS num_rows
    FROM record
    INNER JOIN kept ON kept.record_id = record.record_id
    ASOF JOIN row_group
        ON row_group.subset = record.subset
        AND row_group.file = record.file
        AND record.row >= row_group.first_row
    GROUP BY ALL
),
turned AS (
    SELECT
        *,
        md5(concat_ws(':', CAST($seed AS VARCHAR), subset, file, CAST(row_group AS VARCHAR))) AS turn
    FROM usable
),
counted AS (
    SELECT
        *,
        sum(num_rows) OVER (ORDER BY turn, subset, file, row_group) - num_rows AS num_before
    FROM turned
)
SELECT
    subset,
    file,
    row_group,
    size_bytes,
    list_slice(rows, 1, CAST(least(num_rows, $records - num_before) AS BIGINT)) AS rows
FROM counted
WHERE num_before < $records
ORDER BY turn, subset, file, row_group;
