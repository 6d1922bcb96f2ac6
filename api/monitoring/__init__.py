"""What goes on in Docker and in workspaces: events, figures, disk, activity."""
