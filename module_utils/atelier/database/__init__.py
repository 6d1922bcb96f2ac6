"""The database: one SQLite file with workspaces, claims, addresses, quotas and jobs."""
