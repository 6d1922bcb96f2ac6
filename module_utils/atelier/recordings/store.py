"""A workspace's recordings: its domains and LLM conversations.

In ``<state_dir>/recordings/<workspace id>``: ``domains.json``, and a file for each conversation in ``conversations``,
named after its timestamp, so that names sort by time and a page is read without looking at the other files. Another
process writes these files at the same time; what is half-made, broken or foreign is passed over.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.validation import check_id
from .plain_json import plain

_TIMESTAMP = re.compile(r"(\d{4}-\d{2}-\d{2})T(\d{2}):(\d{2}):(\d{2}\.\d{3})Z", re.ASCII)
_FILE = re.compile(r"(\d{4}-[01]\d-[0-3]\d)T([0-2]\d)-([0-5]\d)-([0-5]\d\.\d{3})Z\.json", re.ASCII)
# The keys that filters need are at the beginning of a file.
_HEAD_BYTES = 2048
_MODEL = re.compile(rb'"model": ("(?:[^"\\]|\\.)*")')
# Far above what the recorder writes; a larger file is not its.
_MOST_BYTES = 64 * 1024**2
_LARGEST_LIMIT = 10_000
# Of one page, in files: what a seat sent becomes some twenty times as much in memory when it is read.
_MOST_PAGE_BYTES = 16 * 1024**2


@dataclass(frozen=True)
class Conversations:
    """One page, newest first, and how many there are in all that fit the filters."""

    conversations: list[dict[str, Any]]
    total: int


def domains(state_dir: Path, workspace_id: str) -> dict[str, dict[str, Any]]:
    """Each recorded domain with ``count``, ``first_seen`` and ``last_seen``, by name; {} when nothing was recorded."""
    raw = _read_json(_folder(state_dir, workspace_id) / "domains.json")
    return {
        host: {name: entry[name] for name in ("count", "first_seen", "last_seen")}
        for host, entry in sorted((raw or {}).items())
        if isinstance(entry, dict)
        and isinstance(entry.get("count"), int)
        and isinstance(entry.get("first_seen"), str)
        and isinstance(entry.get("last_seen"), str)
    }


def conversations(
    state_dir: Path,
    workspace_id: str,
    *,
    limit: int = 100,
    offset: int = 0,
    model: str | None = None,
    date_from: str | None = None,
    date_to: str | None = None,
) -> Conversations:
    """The conversations that fit, newest first. ``model``: exactly this one. Dates are ISO 8601, both included; a day
    without a time is the whole day. A page ends before ``limit`` when its conversations are large. Raises
    VALIDATION_ERROR."""
    _check_range("limit", limit, 1, _LARGEST_LIMIT)
    _check_range("offset", offset, 0, 10**9)
    first = _file_name(_bound(date_from, "date_from", "T00:00:00.000Z")) if date_from else ""
    last = _file_name(_bound(date_to, "date_to", "T23:59:59.999Z")) if date_to else "~"
    folder = _folder(state_dir, workspace_id) / "conversations"
    fitting = [name for name in _names(folder) if first <= name <= last]
    if model is not None:
        fitting = [name for name in fitting if _model(folder / name) == model]
    page = (_read_conversation(folder, name) for name in _within(folder, fitting[offset : offset + limit]))
    return Conversations([found for found in page if found is not None], len(fitting))


def all_conversations(state_dir: Path, workspace_id: str) -> Iterator[dict[str, Any]]:
    """All of them, oldest first, read one by one."""
    folder = _folder(state_dir, workspace_id) / "conversations"
    for name in reversed(_names(folder)):
        if (found := _read_conversation(folder, name)) is not None:
            yield found


def count_conversations(state_dir: Path, workspace_id: str) -> int:
    return len(_names(_folder(state_dir, workspace_id) / "conversations"))


def check_timestamp(timestamp: str) -> str:
    """A conversation's timestamp, as the recorder makes them. Raises VALIDATION_ERROR."""
    if _TIMESTAMP.fullmatch(timestamp) and _is_time(timestamp):
        return timestamp
    raise AtelierError(
        Code.VALIDATION_ERROR, Message("input.timestamp", value=timestamp[:40]), field="timestamp", value=timestamp[:40]
    )


def delete_conversation(state_dir: Path, workspace_id: str, timestamp: str) -> None:
    """Raises VALIDATION_ERROR for a timestamp that is none, NOT_FOUND when no conversation has it."""
    name = _file_name(check_timestamp(timestamp))
    try:
        (_folder(state_dir, workspace_id) / "conversations" / name).unlink()
    except FileNotFoundError as error:
        raise AtelierError(
            Code.NOT_FOUND, Message("no_conversation", workspace=workspace_id, timestamp=timestamp), field="timestamp"
        ) from error
    except OSError as error:
        raise _unusable(error) from error


def delete_conversations(state_dir: Path, workspace_id: str) -> int:
    """Deletes all of them, and returns how many there were."""
    folder = _folder(state_dir, workspace_id) / "conversations"
    names = _names(folder)
    try:
        for name in names:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise _unusable(error) from error
    return len(names)


def remove_recordings(state_dir: Path, workspace_id: str) -> bool:
    """Removes everything that was recorded of a workspace, and says whether there was anything."""
    folder = _folder(state_dir, workspace_id)
    for _ in range(3):  # the recorder may put a file in between
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return False
        except OSError as error:
            failure = error
        else:
            return True
    raise _unusable(failure) from failure


def _folder(state_dir: Path, workspace_id: str) -> Path:
    return state_dir / "recordings" / check_id(workspace_id)


def _names(folder: Path) -> list[str]:
    """The conversations' file names, newest first."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if _FILE.fullmatch(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unusable(error) from error
    return sorted(names, reverse=True)


def _within(folder: Path, names: list[str]) -> Iterator[str]:
    """The first one, and as many more as a page has room for."""
    room = _MOST_PAGE_BYTES
    for name in names:
        try:
            room -= (folder / name).stat().st_size
        except OSError:
            continue
        if room < 0 and name != names[0]:
            return
        yield name


def _is_time(timestamp: str) -> bool:
    """Whether what has the form of a timestamp is one: there is no 32nd of a month."""
    try:
        datetime.fromisoformat(timestamp)
    except ValueError:
        return False
    return True


def _read_conversation(folder: Path, name: str) -> dict[str, Any] | None:
    timestamp = _timestamp(name)
    found = _read_json(folder / name)
    return None if found is None or not _is_time(timestamp) else {**found, "timestamp": timestamp}


def _file_name(timestamp: str) -> str:
    return timestamp.replace(":", "-") + ".json"


def _timestamp(name: str) -> str:
    return _FILE.sub(r"\1T\2:\3:\4Z", name)


def _read_json(path: Path) -> dict[str, Any] | None:
    """A file's object; None when it is gone, broken, or not one of the recorder's."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES)
        found = json.loads(data)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError, RecursionError):
        return None
    except OSError as error:
        raise _unusable(error) from error
    return plain(found) if isinstance(found, dict) else None


def _model(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            found = _MODEL.search(file.read(_HEAD_BYTES))
        return str(json.loads(found[1])) if found else None
    except (OSError, ValueError):
        return None


def _bound(date: str, field: str, whole_day: str) -> str:
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", date, re.ASCII):
            date += whole_day
        moment = datetime.fromisoformat(date)
    except ValueError as error:
        raise AtelierError(
            Code.VALIDATION_ERROR, Message("input.date", value=date[:40]), field=field, value=date[:40]
        ) from error
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _check_range(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise AtelierError(
            Code.VALIDATION_ERROR,
            Message("input.range", field=field, value=value, low=low, high=high),
            field=field,
            value=value,
        )


def _unusable(error: OSError) -> AtelierError:
    return AtelierError(Code.INTERNAL_ERROR, Message("recordings_unusable", why=error.strerror))
