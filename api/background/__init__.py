"""Loops beside the requests: idle workspaces, disk, recovery, cleanup, and the events that open pages follow."""
