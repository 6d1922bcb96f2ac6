"""The manifest of a workshop's archives: the result of each seat, for people and for the teardown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..common.atomic_files import write_atomically
from ..common.errors import invalid
from ..common.messages import Message, tagged, untagged
from .archives import sha256_of

NAME = "manifest.json"
_FORMAT = 1
_MODE = 0o600


@dataclass(frozen=True)
class Entry:
    """The last collect of one seat.

    ``file`` is the archive's name (None if there never was a container to archive), ``bytes`` and ``sha256`` are the
    file's, ``content_bytes`` and ``entries`` those of the tar archive in it. ``committed``: whether there was something
    to commit. ``pushed``: whether ``commit`` is on ``branch`` of the git server; ``note`` is the reason if not.
    ``error`` is why the last attempt failed; the archive is then from an earlier one, if any. ``rested`` is Docker's
    timestamp of the container's exit, if it was stopped: while it is unchanged, nothing is new, whatever the clock
    says. ``container`` is the container's id; ``former`` names archives of the seat's previous containers (before a
    reset or re-creation), whose files may be missing in this one.
    """

    id: str
    name: str
    state: str
    collected_at: str | None = None
    container: str | None = None
    rested: str | None = None
    file: str | None = None
    former: tuple[str, ...] = ()
    bytes: int = 0
    sha256: str | None = None
    content_bytes: int = 0
    entries: int = 0
    repository: str | None = None
    branch: str | None = None
    commit: str | None = None
    committed: bool = False
    pushed: bool = False
    note: str | None = None
    error: str | None = None


def folder_of(state_dir: Path, workshop: str) -> Path:
    """The default folder for the archives of the workshop of that name."""
    return state_dir / "archives" / f"workshop-{re.sub(r'[^A-Za-z0-9_-]+', '-', workshop).lower()}"


def read_manifest(folder: Path) -> dict[str, Entry]:
    """Reads the entries by workspace id; empty if there is no manifest. Raises VALIDATION_ERROR for an invalid file."""
    path = folder / NAME
    known = {field.name for field in fields(Entry)}
    try:
        document = json.loads(path.read_bytes())
        if document["format"] != _FORMAT:
            raise ValueError(Message("other_manifest", format=document["format"]))
        # Unknown keys of a newer version must not lose archives.
        seats = [{key: raw[key] for key in known & raw.keys()} for raw in untagged(document["seats"])]
        entries = [Entry(**{**seat, "former": tuple(seat.get("former", ()))}) for seat in seats]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise invalid("no_manifest", "folder", path=path, why=error) from error
    return {entry.id: entry for entry in entries}


def write_manifest(folder: Path, instance: str, written_at: str, entries: Iterable[Entry]) -> None:
    """Replaces the manifest atomically, sorted by name. Raises VALIDATION_ERROR if it cannot be written."""
    ordered = sorted(entries, key=lambda entry: (entry.name, entry.id))
    seats = tagged([asdict(entry) for entry in ordered])
    document = {"format": _FORMAT, "instance": instance, "written_at": written_at, "seats": seats}
    try:
        write_atomically(folder / NAME, (json.dumps(document, indent=2) + "\n").encode(), mode=_MODE)
    except OSError as error:
        raise invalid("manifest_not_written", "folder", folder=folder, why=error) from error


def fault_of(folder: Path, entry: Entry | None, *, read: bool = True) -> str | None:
    """Why a seat does not count as collected; None if its archive matches the manifest. Without ``read`` only the
    archive's size is checked, since reading takes seconds."""
    if entry is None:
        return Message("fault.never_collected")
    if entry.error is not None:
        return Message("fault.not_collectable", why=entry.error)
    if entry.file is None:
        return Message("fault.no_archive")
    path = folder / entry.file
    try:
        if path.stat().st_size != entry.bytes or (read and sha256_of(path) != entry.sha256):
            return Message("fault.archive_changed", file=entry.file)
    except OSError as error:
        return Message("fault.archive_unreadable", file=entry.file, why=error.strerror)
    return None
