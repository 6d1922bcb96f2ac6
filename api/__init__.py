"""The HTTP layer: parses, authorises, and turns every change into one ansible-runner execution."""
