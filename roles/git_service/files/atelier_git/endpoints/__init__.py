"""Forgejo's API, and clones and pushes over HTTP."""
