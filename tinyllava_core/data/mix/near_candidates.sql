-- What may look the same as another: the first of each set of exact duplicates, where another one says the same and shows as
-- many pictures. Tables given: twin, shown, picture.
SELECT
    alike.number,
    alike.same_text,
    shown.place,
    picture.phash
FROM (
    SELECT
        number,
        dense_rank() OVER (ORDER BY within, text, num_images) AS same_text,
        count(*) OVER (PARTITION BY within, text, num_images) AS num_alike
    FROM twin
    WHERE number = first AND num_images > 0
) AS alike
INNER JOIN shown ON shown.number = alike.number
INNER JOIN picture ON picture.id = shown.picture
WHERE alike.num_alike > 1
ORDER BY
    alike.number,
    shown.place;
