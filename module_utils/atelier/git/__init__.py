"""The git server's HTTP API, names and URLs."""
