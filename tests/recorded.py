"""A recorded conversation for tests, made by the recorder's own code."""

from __future__ import annotations

import json
from pathlib import Path

from atelier_recorder.records import record


def write_conversation(recording: Path, timestamp: str, model: str = "gpt") -> None:
    """Puts one into the folder of a workspace's recording."""
    written = record(
        timestamp=timestamp,
        api="openai",
        method="POST",
        url="https://api.openai.com/v1/chat/completions",
        status=200,
        duration=10,
        first_byte=None,
        incomplete=False,
        truncated=False,
        error=None,
        parsed_request={"model": model},
        parsed_response={},
        secrets=(),
    )
    folder = recording / "conversations"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{timestamp.replace(':', '-')}.json").write_text(json.dumps(written))
