-- Training pictures that are a benchmark's. Makes `asked` and `match`. Tables given: picture, from pictures.sql;
-- vg_coco(vg_id, coco_id), which may be empty; view given: benchmark_image. Bound value: $ids.
CREATE TEMP TABLE asked AS
SELECT
    row_number() OVER (ORDER BY source, path) - 1 AS id,
    source AS benchmark,
    path,
    sha256,
    pixel_hash,
    coalesce(phash, 0) AS phash
FROM benchmark_image
WHERE reason IS NULL;

-- The names that publishers give their pictures. COCO's ids are one series over all its splits and years. GQA's pictures
-- are Visual Genome's, under the same numbers; their folder (or the source's name) tells them from any other number.
CREATE TEMP TABLE named AS
WITH
file AS (
    SELECT
        'picture' AS side,
        id,
        source || '/' || path AS path
    FROM picture
    WHERE $ids
    UNION ALL
    SELECT
        'asked',
        id,
        benchmark || '/' || path
    FROM asked
    WHERE $ids
),
numbered AS (
    SELECT
        side,
        id,
        TRY_CAST(
            regexp_extract(path, '/(?:COCO_[a-z]+[0-9]{4}_)?([0-9]{12})\.(?:jpe?g|png)$', 1) AS BIGINT
        ) AS coco_id,
        TRY_CAST(
            regexp_extract(
                path,
                '(?:^|/)(?:vg|gqa|visual-genome|VG_100K|VG_100K_2)(?:-[^/]*)?/(?:[^/]+/)*([0-9]{1,8})\.(?:jpe?g|png)$',
                1
            ) AS BIGINT
        ) AS vg_id,
        nullif(regexp_extract(path, '/([0-9a-f]{16})\.(?:jpe?g|png)$', 1), '') AS openimages_id
    FROM file
)
SELECT side, id, 'coco_id' AS how, CAST(coco_id AS VARCHAR) AS name FROM numbered WHERE coco_id IS NOT NULL
UNION ALL
SELECT side, id, 'vg_id', CAST(vg_id AS VARCHAR) FROM numbered WHERE vg_id IS NOT NULL
UNION ALL
SELECT side, id, 'openimages_id', openimages_id FROM numbered WHERE openimages_id IS NOT NULL
UNION ALL
SELECT numbered.side, numbered.id, 'coco_id', CAST(vg_coco.coco_id AS VARCHAR)
FROM numbered
INNER JOIN vg_coco ON vg_coco.vg_id = numbered.vg_id;

CREATE TEMP TABLE match AS
SELECT picture.id AS picture, asked.id AS asked, 'bytes' AS how, 0 AS rank
FROM picture
INNER JOIN asked ON asked.sha256 = picture.sha256
UNION ALL
SELECT picture.id, asked.id, 'pixels', 1
FROM picture
INNER JOIN asked ON asked.pixel_hash = picture.pixel_hash
UNION ALL
SELECT trained.id, tested.id, trained.how, 2
FROM named AS trained
INNER JOIN named AS tested ON tested.how = trained.how AND tested.name = trained.name
WHERE trained.side = 'picture' AND tested.side = 'asked';
