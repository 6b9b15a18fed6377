"""mParticle's wire: what it posts, read into the canonical facts, and what it expects back."""
