"""The registry: one SQLite file with workspaces, claims, addresses, quotas and jobs."""
