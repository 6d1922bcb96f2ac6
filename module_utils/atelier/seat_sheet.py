"""The seat sheet: a CSV file of a workshop's seats with their passwords, readable by its owner only.

It is written before the first seat is given its password and again at the end. So whenever a run is interrupted, no
seat has a password that stands nowhere, and running again gives each seat the same one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import AtelierError, Code
from .files import write_atomically

_COLUMNS = ("name", "url", "password", "state")


class SeatSheet:
    """The sheet at ``path``, whose folder exists. Raises VALIDATION_ERROR for a file that is something else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = _read(path)

    def password(self, name: str) -> str | None:
        """What the sheet says of that seat."""
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
        if rows == self._rows:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())
        write_atomically(self._path, text.getvalue().encode(), mode=0o600)
        self._rows = rows


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != _COLUMNS:
                raise AtelierError(
                    Code.VALIDATION_ERROR,
                    f"{path} is not a seat sheet: its columns are not {', '.join(_COLUMNS)}.",
                    field="seats_csv",
                    remedy="Name another file, or move this one away.",
                )
            return {row["name"]: row for row in reader}
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise AtelierError(
            Code.VALIDATION_ERROR,
            f"The seat sheet {path} can't be read: {error}.",
            field="seats_csv",
            remedy="Name a file in a folder that exists and is writable.",
        ) from error
