"""A CSV file with a workshop's seats and passwords, readable only by its owner.

It is written before the first password is set and again at the end. So after an interruption no password is lost, and
another run sets the same ones.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..common.atomic_files import write_atomically
from ..common.errors import AtelierError, invalid
from ..common.locks import Locks
from ..common.messages import Message

_COLUMNS = ("name", "url", "password", "state")
_MODE = 0o600


class CredentialsCsv:
    """The sheet at ``path``. Raises VALIDATION_ERROR for a file that is something else, and for a folder that is
    missing, unless it is ``folder_to_be_made``: one that is sure to be there when the sheet is written.
    """

    def __init__(self, path: Path, *, folder_to_be_made: Path | None = None) -> None:
        self._path = path
        self._rows = _read(path)
        if not path.parent.is_dir() and path.parent != folder_to_be_made:
            raise _unusable(path, Message("sheet.no_folder"))

    @contextmanager
    def held(self, locks: Locks, wait: float) -> Iterator[None]:
        """Keeps other runs from the sheet, and reads it again: one may have ended meanwhile. Raises WORKSPACE_BUSY."""
        with locks.sheet(self._path, wait):
            self._rows = _read(self._path)
            yield

    def password(self, name: str) -> str | None:
        """The seat's password in the sheet; None if there is none."""
        return self._rows.get(name, {}).get("password") or None

    def note(self, name: str, password: str) -> None:
        """Notes a password before it is used; the rest of the row comes when the seat is there."""
        self._save({**self._rows, name: {"name": name, "url": "", "password": password, "state": ""}})

    def write(self, seats: Sequence[Mapping[str, object]]) -> None:
        """Puts these seats into the sheet. A seat without a ``password`` keeps the one that the sheet has."""
        rows = dict(self._rows)
        for seat in seats:
            name = str(seat["name"])
            rows[name] = {
                "name": name,
                "url": str(seat["url"]),
                "password": str(seat.get("password") or self.password(name) or ""),
                "state": str(seat["status"]),
            }
        self._save(rows)

    def _save(self, rows: dict[str, dict[str, str]]) -> None:
        if rows == self._rows and self._is_private():
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())
        try:
            write_atomically(self._path, text.getvalue().encode(), mode=_MODE)
        except OSError as error:
            raise _unusable(self._path, error) from error
        self._rows = rows

    def _is_private(self) -> bool:
        return not self._path.exists() or self._path.stat().st_mode & 0o777 == _MODE


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != _COLUMNS:
                raise invalid("sheet.columns", "seats_csv", path=path, columns=", ".join(_COLUMNS))
            return {row["name"]: row for row in reader}
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, why: Exception | Message) -> AtelierError:
    return invalid("sheet.unusable", "seats_csv", path=path, why=why)
