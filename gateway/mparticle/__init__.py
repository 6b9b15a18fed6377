"""mParticle's formats: reads what it posts into the canonical facts, and writes what it expects back."""
