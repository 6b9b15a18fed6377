"""The journal on a PostgreSQL server, for any number of ingest and dispatch processes on any number of machines."""
