"""The pages: HTML over the same functions that the JSON API has. What they change, they change by calling that API."""

from .refusals import refusal
from .routes import install

__all__ = ["install", "refusal"]
