"""Shared by endpoints, pages and background loops: long-lived services, changes as jobs, a module per resource."""
