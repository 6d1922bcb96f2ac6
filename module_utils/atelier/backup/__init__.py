"""Backup and restore of an installation with restic: one encrypted, deduplicated repository."""
