"""The SQLite engine of the journal."""
