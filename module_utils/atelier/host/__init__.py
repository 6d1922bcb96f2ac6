"""The host that Docker runs on: ports, subnets, and the fingerprint of a complete run."""
