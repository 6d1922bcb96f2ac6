"""Times as answers, rows and files have them."""

from __future__ import annotations

from datetime import UTC, datetime


def timestamp(moment: datetime, timespec: str = "milliseconds") -> str:
    """ISO 8601, UTC, with ``Z``."""
    return moment.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
