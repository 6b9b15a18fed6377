"""Delivery: calls out, replies in, and what is made of them. The only room that talks to partners."""
