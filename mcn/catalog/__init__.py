"""The crystal catalogue: two tables of partitioned Parquet with a Delta Lake log."""
