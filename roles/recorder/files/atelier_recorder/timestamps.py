"""Times as the recordings carry them: ISO 8601, UTC, milliseconds, Z."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now_ms() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def iso(milliseconds: int) -> str:
    """Milliseconds since 1970 as ``2026-02-14T10:05:00.123Z``."""
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def file_name(timestamp: str) -> str:
    """The name of a conversation's file. Names sort as their times do."""
    return timestamp.replace(":", "-") + ".json"
