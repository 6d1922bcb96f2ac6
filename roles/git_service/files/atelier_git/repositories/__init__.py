"""The repositories on disk, and what a push may put into them. Neither HTTP nor the database is imported here: the
pre-receive hook uses this with a bare Python."""
