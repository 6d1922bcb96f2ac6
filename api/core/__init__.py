"""Shared by all packages of the API: errors, responses, the OpenAPI document, logs, limits."""
