"""Firehose messages: decode them, and answer them."""
