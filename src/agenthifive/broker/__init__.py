"""The hot path: what an agent asks, decided, recorded, sent and answered. Imports no web framework."""
