"""The HTTP layer: parses and authorises requests, and runs one ansible-runner execution per change."""
