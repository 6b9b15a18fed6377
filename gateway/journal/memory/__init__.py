"""The journal in memory: the port's meaning in plain Python, to test against. Nothing outlives the process."""
