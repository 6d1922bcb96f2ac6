"""Shared by all packages of the core: errors, messages and their texts, models, validation, files, locks."""
