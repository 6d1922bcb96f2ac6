"""A recorded conversation for tests, made by the recorder's own code."""

from __future__ import annotations

import json
from pathlib import Path

from atelier_recorder.messages import Exchanged
from atelier_recorder.writer.records import record


def write_conversation(recording: Path, timestamp: str, model: str = "gpt") -> None:
    """Puts one into the folder of a workspace's recording."""
    call = Exchanged(
        number=1,
        address="10.0.0.2",
        api="openai",
        any_host=False,
        url="https://api.openai.com/v1/chat/completions",
        method="POST",
        secrets=(),
        started=1000,
        finished=1010,
        status=200,
    )
    written = record(call, timestamp, {"model": model}, {}, incomplete=False)
    folder = recording / "conversations"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{timestamp.replace(':', '-')}.json").write_text(json.dumps(written))
