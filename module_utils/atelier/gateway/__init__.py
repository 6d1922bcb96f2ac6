"""The gateway's route maps: HAProxy, aliases, and who opens a port."""
