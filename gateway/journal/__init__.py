"""The journal: what is durable, and its answer to "what happened to this?"."""
