"""Processes: the supervisor and its children."""
