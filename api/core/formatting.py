"""Formats durations and sizes for answers."""

from __future__ import annotations

import re

_UNITS = ("B", "KB", "MB", "GB", "TB")


def duration(seconds: float) -> str:
    """A duration such as "2d 14h 22m"; days and hours are omitted if zero."""
    minutes = int(seconds) // 60
    days, hours = minutes // 1440, minutes // 60 % 24
    parts = [f"{days}d"] if days else []
    if hours or days:
        parts.append(f"{hours}h")
    return " ".join([*parts, f"{minutes % 60}m"])


def size(count: int, gap: str = "") -> str:
    """Bytes in the largest unit that leaves at least one, such as "1.2GB"; a unit is 1024 of the one below."""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f}{gap}{_UNITS[unit]}" if unit else f"{count}{gap}B"


def natural_key(name: str) -> list[str | int]:
    """A sort key by which "seat 2" comes before "seat 10"."""
    return [int(part) if at % 2 else part for at, part in enumerate(re.split(r"([0-9]+)", name))]
