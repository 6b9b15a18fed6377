"""The demo: two fake partners, the real gateway, realistic messages, and a check that all arrives."""
