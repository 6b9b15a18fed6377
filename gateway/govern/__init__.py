"""Governing: what may be sent on a connection, decided before its plugin is asked."""
