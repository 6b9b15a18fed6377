"""The processes of a gateway: the supervisor and its children."""
