"""The egress proxies: their clients, whitelists, logs and configuration."""
