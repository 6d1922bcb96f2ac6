"""Who calls: the middleware, sessions, passwords and the audit log."""
