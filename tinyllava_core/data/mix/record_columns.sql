-- The columns of a record that a mix's filters may name. Table given: record, the sources' records.parquet together.
--
-- What is said of a record's images is NULL where it has none; of several, the worst counts.
SELECT
    record.record_id,                       -- <source>-<index, 8 digits>
    record.source,
    record.component,                       -- the part of the source, as its manifest names it; NULL: it names none
    record.index,                           -- place in the annotation file, from 0
    record.original_id,                     -- the file's own id
    record.num_turns,
    record.num_chars,                       -- of all turns
    record.num_images,                      -- 0: text only
    record.turns[1].text AS question,       -- the first user's turn, image tag included
    record.turns[2].text AS answer,         -- the first assistant's turn
    record.images[1].path AS image,         -- the first image's path
    list_min(list_transform(record.images, lambda image: image.width)) AS width,
    list_min(list_transform(record.images, lambda image: image.height)) AS height,
    list_min(list_transform(record.images, lambda image: least(image.width, image.height))) AS min_side,
    list_max(list_transform(record.images, lambda image: greatest(image.width, image.height))) AS max_side,
    list_max(
        list_transform(
            record.images,
            lambda image: greatest(image.width, image.height) / least(image.width, image.height)
        )
    ) AS aspect,                            -- longer side over shorter side
    record.repairs,                         -- a list of names, as in docs/inspect.md
    record.notes                            -- a list of names
FROM record
