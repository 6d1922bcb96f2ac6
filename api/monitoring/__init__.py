"""Observation of Docker and workspaces: events, figures, disk, activity."""
