"""The dispatch role: takes each batch from the journal to its recorded outcome."""
