"""What answers requests: Forgejo's API, and clones and pushes."""
