-- Records that say the same about the same pictures. Makes `twin` and `duplicate`. Tables given: kept, shown, picture;
-- view given: record. Bound value: $within, source or mix.
--
-- Same text: turn by turn, but for case, white space and where the image tag stands. Same pictures: equal pixels, in order.
CREATE TEMP TABLE said AS
SELECT
    kept.number,
    CASE $within WHEN 'source' THEN kept.source END AS within,
    kept.num_images,
    spoken.text
FROM kept
INNER JOIN (
    SELECT
        record_id,
        md5_number(
            replace(
                lower(
                    translate(
                        list_aggregate(list_transform(turns, lambda turn: turn.text), 'string_agg', chr(31)),
                        chr(9) || chr(10) || chr(13) || ' ',
                        ''
                    )
                ),
                '<image>',
                ''
            )
        ) AS text
    FROM record
) AS spoken ON spoken.record_id = kept.record_id;

CREATE TEMP TABLE twin AS
SELECT
    said.*,
    min(said.number) OVER (PARTITION BY said.within, said.text, looks.pixels) AS first
FROM said
LEFT JOIN (
    SELECT
        shown.number,
        bit_xor(md5_number(shown.place || ':' || coalesce(picture.pixel_hash, picture.sha256))) AS pixels
    FROM shown
    INNER JOIN picture ON picture.id = shown.picture
    GROUP BY shown.number
) AS looks ON looks.number = said.number;

DROP TABLE said;

CREATE TEMP TABLE duplicate AS
SELECT
    number,
    first,                     -- the one that stays, if others are dropped
    'exact' AS how,
    CASE WHEN num_images > 0 THEN CAST(0 AS SMALLINT) END AS distance
FROM twin
WHERE number <> first;
