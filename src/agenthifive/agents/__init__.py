"""Agents: how they are enrolled, prove who they are, and hold tokens."""
