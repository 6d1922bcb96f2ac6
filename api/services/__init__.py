"""What routes and pages ask: projects, claims, passwords, containers."""
