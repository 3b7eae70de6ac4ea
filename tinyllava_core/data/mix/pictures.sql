-- The pictures of a mix's records, and which record shows which. Views given: record, image. Table given: candidate.
CREATE TEMP TABLE picture AS
SELECT
    row_number() OVER (ORDER BY source, path) - 1 AS id,
    source,
    path,
    sha256,
    pixel_hash,
    coalesce(phash, 0) AS phash
FROM image
WHERE reason IS NULL;

CREATE TEMP TABLE shown AS
SELECT
    candidate.number,
    seen.place,                -- from 1, within the record
    picture.id AS picture
FROM (
    SELECT
        record_id,
        source,
        unnest(images).path AS path,
        generate_subscripts(images, 1) AS place
    FROM record
    WHERE num_images > 0
) AS seen
INNER JOIN candidate ON candidate.record_id = seen.record_id
INNER JOIN picture ON picture.source = seen.source AND picture.path = seen.path;
