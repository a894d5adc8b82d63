"""Clients of outside systems: files, ClickHouse, the team registry."""
