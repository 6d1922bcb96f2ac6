"""The pages: HTML over the functions of the JSON API. Every change is an API call."""

from .application import install
from .error_pages import refusal

__all__ = ["install", "refusal"]
