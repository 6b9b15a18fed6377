"""Journal: the durable store, and its answer to "what became of this?"."""
