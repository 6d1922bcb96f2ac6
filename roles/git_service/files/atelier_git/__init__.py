"""The embedded git service: bare repositories over HTTP, and the part of Forgejo's API v1 that Atelier uses."""
