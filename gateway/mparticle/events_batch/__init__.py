"""Events batches: decode them."""
