"""Delivery: sends calls to partners and judges their replies; nothing else talks to partners."""
