"""The dispatch role: carry each batch from the journal to its recorded outcome."""
