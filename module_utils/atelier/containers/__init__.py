"""The container of one workspace: creating it, its files, git, snapshots and templates."""
