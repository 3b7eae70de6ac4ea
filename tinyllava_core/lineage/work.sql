-- What the merger remembers in work.duckdb besides the tables of schema.sql (each with a column `fragment` more).

CREATE TABLE ingested (
    table_name VARCHAR,
    fragment VARCHAR,          -- file name
    signature VARCHAR          -- of its bytes: another one means that the fragment was written again
);
COMMENT ON TABLE ingested IS 'Fragments whose rows are in the tables.';

CREATE TABLE made_with (
    sql_sha256 VARCHAR
);
COMMENT ON TABLE made_with IS 'The schema.sql that made these tables; with another one they are made again from the fragments.';
