"""The modules of the writer's process: it parses and redacts the copies, and keeps them as files."""
