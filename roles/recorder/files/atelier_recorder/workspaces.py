"""Maps addresses to workspaces: the table that Atelier writes, read again whenever it was replaced."""

from __future__ import annotations

import json
import re
from pathlib import Path

_ID = re.compile(r"[0-9a-f]{12}")


class Workspaces:
    """``path`` holds ``{"<address>": {"id": "<12 hex>", ...}}``. A missing file means that there are no workspaces."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._ids: dict[str, str] = {}

    def id_of(self, address: str) -> str | None:
        """The workspace with this address; None if there is none."""
        self._refresh()
        return self._ids.get(address)

    def ids(self) -> frozenset[str]:
        self._refresh()
        return frozenset(self._ids.values())

    def _refresh(self) -> None:
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
            if stamp == self._stamp:
                return
            raw = json.loads(self._path.read_text(encoding="utf-8"))
            ids = {str(address): entry["id"] for address, entry in raw.items() if _ID.fullmatch(entry["id"])}
        except FileNotFoundError:
            self._stamp, self._ids = None, {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return  # perhaps it is being repaired; the old table stays valid, because addresses never change
        else:
            self._stamp, self._ids = stamp, ids
