"""The pages: HTML over the same functions that the JSON API has. What they change, they change by calling that API."""

from .application import install
from .error_pages import refusal

__all__ = ["install", "refusal"]
