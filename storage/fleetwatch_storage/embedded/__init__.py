"""The embedded engine: DuckDB for what is hot, Parquet for what is sealed. Imported when it is opened: it is heavy."""
