"""Plugins: load them, join them with their settings, and guard the process against them."""
