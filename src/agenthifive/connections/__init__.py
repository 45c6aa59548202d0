"""Connections: sealed credentials of catalog services, from entry to revocation. Source: contract/connections.md."""
