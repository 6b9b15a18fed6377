"""Administration: what operators see of a running gateway."""
