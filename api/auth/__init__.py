"""Authentication: the middleware, sessions, passwords and the audit log."""
