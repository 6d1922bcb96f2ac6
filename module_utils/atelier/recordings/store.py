"""A workspace's recordings: its domains and LLM conversations.

Conversations are files named after their timestamps, so that names sort by time and a page is read without looking at
the other files. The recorders write these files at the same time; what is half-made, broken or foreign is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from ..common.errors import AtelierError, Code, invalid
from ..common.messages import Message
from ..common.portions import portions
from ..common.timestamps import timestamp
from ..common.validation import check_range
from .folders import MOST_AT_ONCE, MOST_BYTES, Folder, Recorded
from .plain_json import plain

_TIMESTAMP = re.compile(r"(\d{4}-\d{2}-\d{2})T(\d{2}):(\d{2}):(\d{2}\.\d{3})Z", re.ASCII)
_FILE = re.compile(r"(\d{4}-[01]\d-[0-3]\d)T([0-2]\d)-([0-5]\d)-([0-5]\d\.\d{3})Z\.json", re.ASCII)
# The keys that filters need are at the beginning of a file.
_HEAD_BYTES = 2048
_MODEL = re.compile(rb'"model": ("(?:[^"\\]|\\.)*")')
_LARGEST_LIMIT = 10_000


@dataclass(frozen=True)
class Conversations:
    """A page, newest first, and the total number that matches the filters."""

    conversations: list[dict[str, Any]]
    total: int


def domains(recorded: Recorded) -> dict[str, dict[str, Any]]:
    """Each recorded domain with ``count``, ``first_seen`` and ``last_seen``, by name; {} when nothing was recorded."""
    found: dict[str, dict[str, Any]] = {}
    for folder in recorded.folders:
        for host, entry in (_json(folder.domains()) or {}).items():
            if (
                isinstance(entry, dict)
                and isinstance(entry.get("count"), int)
                and isinstance(entry.get("first_seen"), str)
                and isinstance(entry.get("last_seen"), str)
            ):
                other = found.get(host, {**entry, "count": 0})
                found[host] = {
                    "count": entry["count"] + other["count"],
                    "first_seen": min(entry["first_seen"], other["first_seen"]),
                    "last_seen": max(entry["last_seen"], other["last_seen"]),
                }
    return dict(sorted(found.items()))


def conversations(
    recorded: Recorded,
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
    check_range(limit, (1, _LARGEST_LIMIT), "limit")
    check_range(offset, (0, 10**9), "offset")
    first = _file_name(_bound(date_from, "date_from", "T00:00:00.000Z")) if date_from else ""
    last = _file_name(_bound(date_to, "date_to", "T23:59:59.999Z")) if date_to else "~"
    fitting = [file for file in _files(recorded) if first <= file.name <= last]
    if model is not None:
        heads = _contents(fitting, _HEAD_BYTES)
        fitting = [file for file, head in zip(fitting, heads, strict=True) if _model(head) == model]
    page = next(portions(fitting[offset : offset + limit], lambda file: file.folder.size(file.name), MOST_AT_ONCE), [])
    return Conversations(list(_read(page)), len(fitting))


def all_conversations(recorded: Recorded) -> Iterator[dict[str, Any]]:
    """All of them, oldest first, read one by one."""
    return _read(_files(recorded)[::-1])


def count_conversations(recorded: Recorded) -> int:
    return len(_files(recorded))


def delete_conversation(recorded: Recorded, timestamp: str) -> None:
    """Deletes a conversation. Raises VALIDATION_ERROR for an invalid timestamp, NOT_FOUND if there is none with it."""
    if not (_TIMESTAMP.fullmatch(timestamp) and _is_time(timestamp)):
        raise invalid("input.timestamp", "timestamp", value=timestamp[:40])
    name = _file_name(timestamp)
    having = [file for file in _files(recorded) if file.name == name]
    if not having:
        missing = Message("no_conversation", workspace=recorded.workspace_id, timestamp=timestamp)
        raise AtelierError(Code.NOT_FOUND, missing, field="timestamp")
    for file in having:
        file.folder.delete([name])


def delete_conversations(recorded: Recorded) -> int:
    """Deletes all of them, and returns how many there were."""
    count = 0
    for folder in recorded.folders:
        names = [name for name in folder.names() if _FILE.fullmatch(name)]
        folder.delete(names)
        count += len(names)
    return count


def remove_recordings(recorded: Recorded) -> bool:
    """Removes everything that was recorded of a workspace, and says whether there was anything."""
    removed = [folder.remove() for folder in recorded.folders]
    return any(removed)


@dataclass(frozen=True)
class _File:
    name: str
    folder: Folder


def _files(recorded: Recorded) -> list[_File]:
    """The conversations' files, newest first."""
    found = [_File(name, folder) for folder in recorded.folders for name in folder.names() if _FILE.fullmatch(name)]
    return sorted(found, key=lambda file: file.name, reverse=True)


def _contents(files: Sequence[_File], limit: int) -> Iterator[bytes]:
    """The beginnings of these files, asked for together where they lie together."""
    for _, some in groupby(files, key=lambda file: id(file.folder)):
        together = list(some)
        yield from together[0].folder.contents([file.name for file in together], limit)


def _read(files: Sequence[_File]) -> Iterator[dict[str, Any]]:
    for file, data in zip(files, _contents(files, MOST_BYTES), strict=True):
        timestamp, found = _FILE.sub(r"\1T\2:\3:\4Z", file.name), _json(data)
        if found is not None and _is_time(timestamp):
            yield {**found, "timestamp": timestamp}


def _is_time(timestamp: str) -> bool:
    """Whether a text in the form of a timestamp is a valid time: there is no 32nd of a month."""
    try:
        datetime.fromisoformat(timestamp)
    except ValueError:
        return False
    return True


def _file_name(timestamp: str) -> str:
    return timestamp.replace(":", "-") + ".json"


def _json(data: bytes) -> dict[str, Any] | None:
    """A file's object; None when it is gone, broken, or not one of the recorder's."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return plain(found) if isinstance(found, dict) else None


def _model(head: bytes) -> str | None:
    found = _MODEL.search(head)
    try:
        return str(json.loads(found[1])) if found else None
    except ValueError:
        return None


def _bound(date: str, field: str, whole_day: str) -> str:
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", date, re.ASCII):
            date += whole_day
        moment = datetime.fromisoformat(date)
        return timestamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:  # the first day of year 1 east of Greenwich
        raise invalid("input.date", field, value=date[:40]) from error
