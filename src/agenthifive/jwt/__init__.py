"""Signed tokens of people and agents, and the keys that sign and verify them."""
