"""Records the Atelier version that an installation was made by, and reports what this checkout would change.
``./atelier up`` writes the record to the state folder. ``./atelier version`` imports this module with the system's
Python, so it needs only the standard library.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import subprocess
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from ..common.atomic_files import write_atomically
from ..common.errors import AtelierError, Code, invalid
from ..common.messages import Message
from ..database.migrations import VERSION, check_schema, nodes_of, schema_of

T = TypeVar("T")

CHECKOUT = Path(__file__).resolve().parents[3]
_FILE = "installed.json"
_GIT_SECONDS = 10
_SETTING = re.compile(r"^(\w+):", re.MULTILINE)
# The sources of each image, by its name in the report. All other images are built on the base.
_IMAGES: Mapping[str, tuple[str, ...]] = {
    "the base": ("roles/workspace_image/files/base",),
    "the IDE": ("roles/workspace_image/files/ide", "roles/workspace_image/defaults"),
    "the templates": ("roles/workspace_image/files/templates",),
    "the API": (
        *("api", "library", "module_utils", "playbooks", "plugins", "roles/api/files"),
        *("ansible.cfg", "constraints.txt", "pyproject.toml"),
    ),
    "the gateway": ("roles/gateway/files/image",),
    "the git server": ("roles/git_service/files",),
    "the recorder": ("roles/recorder/files",),
    "Squid": ("roles/squid/files",),
}


@dataclass(frozen=True)
class Record:
    """The record of a checkout. ``commit``: empty if git is not available; ``changed``: files differ from the commit.
    ``images`` and ``settings``: digests by name, of the images' sources and of the settings' defaults."""

    version: str
    commit: str
    changed: bool
    checkout: str
    at: str
    schema: int
    images: Mapping[str, str]
    settings: Mapping[str, str]


def of_checkout(checkout: Path = CHECKOUT) -> Record:
    """The present state of a checkout."""
    commit, changed = _commit(checkout)
    images = {name: _digest_of_all(checkout, paths) for name, paths in _IMAGES.items()}
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Record(_version(checkout), commit, changed, str(checkout), at, VERSION, images, dict(_defaults(checkout)))


def installed(state_dir: Path) -> Record | None:
    """The record of the last complete run, without fields that only newer versions have; None if it is missing or
    unreadable."""
    try:
        noted = dict(json.loads((state_dir / _FILE).read_text()))
        return Record(**{name: value for name, value in noted.items() if name in Record.__dataclass_fields__})
    except (FileNotFoundError, ValueError, TypeError):
        return None


def note(state_dir: Path) -> None:
    """Records this checkout as the one that made the installation."""
    write_atomically(state_dir / _FILE, json.dumps(asdict(of_checkout()), indent=1).encode(), mode=0o600)


def newer_version(state_dir: Path) -> str | None:
    """The version that made the installation if it is newer than this checkout's, otherwise None."""
    there = installed(state_dir)
    return there.version if there is not None and _order(there.version) > _order(_version(CHECKOUT)) else None


def refuse_newer(state_dir: Path) -> None:
    """Raises VALIDATION_ERROR if a newer version is installed, REGISTRY_ERROR if the database is a newer one's."""
    there, version = installed(state_dir), _version(CHECKOUT)
    if there is not None and newer_version(state_dir) is not None:
        newer = Message("newer_installation", installed=there.version, commit=there.commit or "-", version=version)
        raise AtelierError(Code.VALIDATION_ERROR, newer, field="version", installed=there.version, version=version)
    schema = _read_database(state_dir, schema_of)
    if schema is not None:
        check_schema(schema)


def refuse_unnamed_nodes(state_dir: Path, named: Iterable[str]) -> None:
    """Raises VALIDATION_ERROR if a machine with workspaces is not among the ``named``: nobody would reach them."""
    if unnamed := (_read_database(state_dir, nodes_of) or set()).difference(named):
        raise invalid("nodes_unnamed", "site.nodes", nodes=", ".join(sorted(unnamed)))


def report(state_dir: Path, checkout: Path = CHECKOUT) -> list[str]:
    """Lines for people: this checkout, the installed version, and what ``./atelier up`` would change, as far as this is
    known without Docker."""
    here = of_checkout(checkout)
    lines = [_line("Atelier", here)]
    try:
        there, schema = installed(state_dir), _read_database(state_dir, schema_of)
    except PermissionError:
        return [*lines, f"{state_dir} cannot be read: run this as root to see what is installed."]
    if schema is None and there is None:
        return [*lines, f"Nothing is installed in {state_dir}."]
    if there is None:
        lines.append("An Atelier is installed that left no note: one before 0.3.0, or ./atelier up did not complete.")
    else:
        lines.append(f"{_line('Installed: Atelier', there)}, since {there.at} from {there.checkout}")
    try:
        refuse_newer(state_dir)
    except AtelierError as error:
        return [*lines, f"./atelier up is refused: {error.sentence}"]
    changes = [*_changes(there, here, schema)]
    if not changes:
        return [*lines, "Its database, images and defaults are those of this checkout."]
    return [*lines, "./atelier up would:", *(f"  - {change}" for change in changes)]


def digest_of(path: Path) -> str | None:
    """A digest of the file, or of all files below the folder; None if it is missing."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    if not path.is_dir():
        return None
    whole = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            # Only the mode bit that git stores, so that all checkouts of a commit are equal.
            whole.update(f"{file.relative_to(path)}\0{file.stat().st_mode & 0o100:o}\0".encode())
            whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()


def _line(name: str, record: Record) -> str:
    commit = f", commit {record.commit}" if record.commit else ""
    return f"{name} {record.version}{commit}{' with changes' if record.changed else ''}"


def _changes(there: Record | None, here: Record, schema: int | None) -> Iterator[str]:
    if schema is not None and 0 < schema < here.schema:
        yield f"change the database from schema {schema} to {here.schema}, after a copy was put aside"
    if there is None:
        yield "rebuild the images whose sources differ, and replace the platform's containers"
        return
    images = _different(there.images, here.images)
    if images:
        yield f"rebuild images: {', '.join(images)}"
    settings = _different(there.settings, here.settings)
    if settings:
        yield f"take other defaults of settings: {', '.join(settings)}"


def _different(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    def words(name: str) -> str:
        return name if name in before and name in now else f"{name} ({'new' if name in now else 'gone'})"

    return [words(name) for name in (*now, *sorted(before.keys() - now)) if before.get(name) != now.get(name)]


def _version(checkout: Path) -> str:
    return str(tomllib.loads((checkout / "pyproject.toml").read_text())["project"]["version"])


def _order(version: str) -> tuple[int, ...]:
    """A sort key for versions: ``0.10.1`` after ``0.9``; a part that is not a number counts as 0."""
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split("."))


def _read_database(state_dir: Path, read: Callable[[sqlite3.Connection], T]) -> T | None:
    """Calls the function with the database, of whatever version; None if there is none. Raises PermissionError for
    another user's folder."""
    file = state_dir / "registry.sqlite3"
    try:
        file.stat()
    except FileNotFoundError:
        return None
    try:
        with closing(sqlite3.connect(file, timeout=5)) as db:
            return read(db)
    except sqlite3.Error:
        return None  # the code that opens it reports the fault


def _commit(checkout: Path) -> tuple[str, bool]:
    """The checkout's commit, and whether files differ from it; ("", False) without git or outside a repository."""
    git = ["git", "-c", f"safe.directory={checkout}", "-C", str(checkout)]
    try:
        told = _run([*git, "rev-parse", "--show-toplevel", "--short=12", "HEAD"]).split()
        if len(told) != 2 or Path(told[0]).resolve() != checkout:
            return "", False
        return told[1], bool(_run([*git, "status", "--porcelain", "--untracked-files=no"]))
    except (OSError, subprocess.SubprocessError):
        return "", False


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_GIT_SECONDS)
    return done.stdout.strip()


def _digest_of_all(checkout: Path, paths: tuple[str, ...]) -> str:
    return hashlib.sha256(json.dumps([digest_of(checkout / path) for path in paths]).encode()).hexdigest()[:16]


def _defaults(checkout: Path) -> Iterator[tuple[str, str]]:
    """Each setting of the inventory with a digest of its default's text. Digests, because a site may have put secrets
    there."""
    for file in sorted((checkout / "inventory" / "group_vars" / "all").glob("*.yml")):
        lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
        parts = _SETTING.split("\n".join(lines))
        for name, value in zip(parts[1::2], parts[2::2], strict=True):
            yield name, hashlib.sha256(value.strip().encode()).hexdigest()[:16]
