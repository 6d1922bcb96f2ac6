"""The values that templates show, as plain functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def options(labels: Mapping[str, str], chosen: str = "") -> list[dict[str, Any]]:
    """The options of a form's choice: one for each value with its label; the chosen value is selected."""
    return [{"value": value, "label": label, "selected": value == chosen} for value, label in labels.items()]
