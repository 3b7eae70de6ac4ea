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
    list_filter(record.turns, lambda turn: turn.role = 'user')[1].text AS question,     -- the first, image tag included
    list_filter(record.turns, lambda turn: turn.role = 'assistant')[1].text AS answer,  -- the first
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
    map_from_entries(
        list_transform(record.scores, lambda score: struct_pack(k := score.name, v := score.of_record))
    ) AS scores,                            -- scores['relevance'] >= 4; NULL: not rated
    record.subset,                          -- of a hub's data set; NULL: not from one
    record.repairs,                         -- a list of names, as in docs/inspect.md
    record.notes                            -- a list of names
FROM record
