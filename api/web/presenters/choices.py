"""The options of a form's choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def options(labels: Mapping[str, str], chosen: str = "") -> list[dict[str, Any]]:
    """One option for each value with its label; the chosen value is selected."""
    return [{"value": value, "label": label, "selected": value == chosen} for value, label in labels.items()]
