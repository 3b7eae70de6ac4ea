-- The rows of contamination.parquet, in the canonical order. Table given: contaminated.
SELECT * EXCLUDE (number)
FROM contaminated
ORDER BY
    number,
    image,
    benchmark,
    benchmark_image;
