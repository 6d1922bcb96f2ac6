"""What endpoints, pages and background loops share: the long-lived services, changes as jobs, a module per resource."""
