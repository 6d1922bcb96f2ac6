"""LLM sessions over WebSocket: OpenAI's realtime and responses. Each response is recorded as a separate
conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..formats import FORMATS
from ..formats.common import StreamParser, as_dict, as_text, message
from ..formats.openai_responses import ENDS, parse_item
from ..messages import SocketMessage, SocketOpened
from .plain_json import read_json
from .records import record

# Maximum items of a session that are kept as the request of an answer.
_MOST_ITEMS = 200
_MOST_CHARACTERS = 1024**2
# The session's settings that are recorded with an answer, each up to a maximum length.
_SETTINGS = ("model", "instructions", "tools", "temperature", "modalities", "output_modalities", "voice")
_LONGEST_SETTING = 256 * 1024
# Maximum bytes of an answer; the rest is not recorded.
_LONGEST_ANSWER = 4 * 1024**2
# Sound travels as text in JSON; there is nothing to read in it.
_SOUND = {"response.audio.delta", "response.output_audio.delta"}


class Session:
    """One connection. ``allocate`` gives a timestamp for a time in milliseconds."""

    def __init__(self, opened: SocketOpened, allocate: Callable[[int], str]) -> None:
        self._opened = opened
        self._allocate = allocate
        self._settings: dict[str, Any] = {"model": (parse_qs(urlsplit(opened.url).query).get("model") or [""])[0]}
        self._items: list[dict[str, Any]] = []
        self._turn: _Turn | None = None
        self.address = opened.address
        self.written_at = 0  # for its user: when the last unfinished answer was written

    def take(self, seen: SocketMessage) -> Iterator[dict[str, Any]]:
        """Processes one message; yields the records that it completes. Ignores anything but JSON objects."""
        try:
            event = read_json(seen.content)
        except (ValueError, RecursionError):
            return
        if not isinstance(event, dict):
            return
        kind = as_text(event.get("type"))
        if seen.from_client:
            yield from self._from_client(kind, event, seen.at)
        elif kind not in _SOUND:
            yield from self._from_server(kind, event, seen.at, len(seen.content))

    def unfinished(self, at: int, *, closed: bool) -> Iterator[dict[str, Any]]:
        """The record of the answer under way, if it has grown since it was last asked for."""
        if self._turn is not None and (self._turn.changed or closed):
            yield self._record(self._turn, at, incomplete=True)
            self._turn.changed = False
        if closed:
            self._turn = None

    def _from_client(self, kind: str, event: dict[str, Any], at: int) -> Iterator[dict[str, Any]]:
        if kind == "session.update":
            self._set(as_dict(event.get("session")))
        elif kind == "conversation.item.create":
            self._remember(parse_item(as_dict(event.get("item"))))
        elif kind == "response.create":
            yield from self.unfinished(at, closed=True)
            # Responses put the request's fields beside the type, realtime puts them under "response".
            self._begin(as_dict(event.get("response")) or event, at)

    def _from_server(self, kind: str, event: dict[str, Any], at: int, size: int) -> Iterator[dict[str, Any]]:
        if kind in ("session.created", "session.updated"):
            self._set({k: v for k, v in as_dict(event.get("session")).items() if v is not None})
        elif kind == "conversation.item.input_audio_transcription.completed":
            self._remember(message("user", as_text(event.get("transcript"))))
        elif kind.startswith("response.") or kind == "error":
            ended = kind == "error" or kind in ENDS
            if self._turn is None and ended:
                return
            turn = self._turn or self._begin({}, at)  # the server answers to speech unasked
            turn.size += size
            if turn.size <= _LONGEST_ANSWER:
                turn.answer.feed(event)
            turn.first_byte = turn.first_byte or at
            turn.changed = True
            if ended:
                yield self._record(turn, at, incomplete=kind == "error")
                result = turn.answer.result()
                self._remember(message("assistant", result["content"], tool_calls=result["tool_calls"]))
                self._turn = None

    def _begin(self, request: dict[str, Any], at: int) -> _Turn:
        format = FORMATS[self._opened.api]
        parsed = format.parse_request(self._settings | request, self._opened.url)
        for item in parsed["messages"]:
            self._remember(item)
        parsed["messages"] = list(self._items)
        self._turn = _Turn(self._allocate(at), at, parsed, format.Parser())
        return self._turn

    def _remember(self, item: dict[str, Any]) -> None:
        items = [*self._items, item][-_MOST_ITEMS:]
        while len(items) > 1 and sum(len(str(each)) for each in items) > _MOST_CHARACTERS:
            items = items[len(items) // 2 :]
        self._items = items

    def _set(self, settings: dict[str, Any]) -> None:
        known = {name: settings[name] for name in _SETTINGS if name in settings}
        self._settings |= {name: value for name, value in known.items() if len(str(value)) <= _LONGEST_SETTING}

    def _record(self, turn: _Turn, at: int, *, incomplete: bool) -> dict[str, Any]:
        answer = turn.answer.result()
        answer["model"] = answer["model"] or turn.request["model"]
        call = replace(
            self._opened,
            method="WEBSOCKET",
            started=turn.started,
            first_byte=turn.first_byte,
            finished=at,
            status=101,
            truncated=turn.size > _LONGEST_ANSWER,
        )
        return record(call, turn.timestamp, turn.request, answer, incomplete=incomplete)


@dataclass
class _Turn:
    timestamp: str
    started: int
    request: dict[str, Any]
    answer: StreamParser
    first_byte: int = 0
    size: int = 0
    changed: bool = False
