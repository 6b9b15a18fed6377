"""The ingest role: answer what mParticle posts, after a durable write."""
