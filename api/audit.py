"""The audit log: every change as one line of JSON in a rotating file."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from atelier.registry import now

_FILE_BYTES = 10 * 1024**2
_FILES = 5


class _File(RotatingFileHandler):
    """Files that only their owner reads, also those that a rotation begins."""

    def _open(self) -> TextIOWrapper:
        Path(self.baseFilename).touch(mode=0o600)
        return super()._open()


class Audit:
    """Who did what to which workspace, with what outcome and in which job. Never what they typed."""

    def __init__(self, state_dir: Path) -> None:
        folder = state_dir / "audit"
        folder.mkdir(mode=0o700, exist_ok=True)
        self._path = folder / "audit.log"
        handler = _File(self._path, maxBytes=_FILE_BYTES, backupCount=_FILES - 1, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(message)s"))
        self._handler = handler
        self._log = logging.Logger("atelier.audit", logging.INFO)
        self._log.addHandler(handler)

    def write(
        self, who: str, what: str, workspace: str | None, outcome: str, job: str | None = None, **more: object
    ) -> None:
        entry = {"at": now(), "who": who, "what": what, "workspace": workspace, "outcome": outcome, "job": job, **more}
        self._log.info(json.dumps(entry))

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """The last ``limit`` entries, newest first; rotated files are read when the present one has too few."""
        entries: list[dict[str, Any]] = []
        for path in self._files():
            for line in reversed(path.read_bytes().splitlines()):
                try:
                    entries.append(json.loads(line))
                except ValueError:
                    continue  # the machine went down while it was written
                if len(entries) == limit:
                    return entries
        return entries

    def close(self) -> None:
        self._handler.close()

    def _files(self) -> Iterator[Path]:
        yield self._path
        for number in range(1, _FILES):
            rotated = self._path.with_name(f"{self._path.name}.{number}")
            if rotated.exists():
                yield rotated
