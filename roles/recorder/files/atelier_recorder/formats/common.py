"""Shared by the formats: the common structure of requests and answers, and readers that tolerate any JSON."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any


def as_dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def dicts(value: object) -> list[dict[str, Any]]:
    """The objects of a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def as_json_text(value: object) -> str:
    """Converts arguments to text; text stays as it is, even if it is incomplete JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def text_of(content: object) -> str:
    """A message's content as text; other parts are replaced by their type."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        content = [content]
    return "\n".join(filter(None, map(_part, content))) if isinstance(content, list) else ""


def _part(part: object) -> str:
    if isinstance(part, str):
        return part
    known = as_dict(part)
    for name in ("text", "refusal", "transcript"):
        if isinstance(known.get(name), str):
            return str(known[name])
    return f"[{as_text(known.get('type')) or 'content'}]"


def message(role: object, content: str, **more: object) -> dict[str, Any]:
    return {"role": as_text(role) or "user", "content": content} | {
        name: value for name, value in more.items() if value
    }


def tool_call(identifier: object, name: object, arguments: object) -> dict[str, str]:
    return {"id": as_text(identifier), "name": as_text(name), "arguments": as_json_text(arguments)}


def request(
    body: Mapping[str, Any],
    known: Collection[str],
    messages: list[dict[str, Any]],
    *,
    system: str,
    tools: Iterable[object],
) -> dict[str, Any]:
    """The one structure for requests. All keys of the body but the ``known`` ones are the call's parameters."""
    return {
        "model": as_text(body.get("model")),
        "system": system,
        "messages": messages,
        "tools": [name for name in tools if isinstance(name, str) and name],
        "parameters": {name: value for name, value in body.items() if name not in known},
        "usage": None,
    }


class StreamParser:
    """Collects an answer, complete or in events.

    Subclasses read events in ``feed`` and whole answers in ``whole``; neither raises for odd JSON.
    """

    def __init__(self) -> None:
        self.model = ""
        self.identifier = ""
        self.content: list[str] = []
        self.reasoning: list[str] = []
        # By the format's key for a call, in the order of their first mention.
        self.tool_calls: dict[object, dict[str, Any]] = {}
        self.finish_reason: str | None = None
        self.usage: dict[str, Any] = {}
        self.error: object = None
        self.ended = False

    def feed(self, event: dict[str, Any]) -> None:
        raise NotImplementedError

    def whole(self, body: dict[str, Any]) -> None:
        raise NotImplementedError

    def note(self, body: dict[str, Any], names: tuple[str, str, str, str] = ("model", "id", "usage", "error")) -> None:
        """Takes what is in a body beside the content. Later figures replace earlier ones: the final usage counts."""
        model, identifier, usage, error = map(body.get, names)
        self.model = as_text(model) or self.model
        self.identifier = as_text(identifier) or self.identifier
        self.usage |= {name: value for name, value in as_dict(usage).items() if value is not None}
        if error:
            self.error = as_dict(error).get("message") or error

    def open_tool_call(self, key: object) -> dict[str, Any]:
        return self.tool_calls.setdefault(key, {"id": "", "name": "", "arguments": []})

    def is_empty(self) -> bool:
        return not (any(self.content) or any(self.reasoning) or self.tool_calls)

    def result(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "id": self.identifier,
            "content": "".join(self.content),
            "reasoning": "".join(self.reasoning),
            "tool_calls": [
                {"id": call["id"], "name": call["name"], "arguments": "".join(call["arguments"])}
                for call in self.tool_calls.values()
            ],
            "finish_reason": self.finish_reason,
            "usage": self._counted(),
            "error": self.error,
        }

    def _counted(self) -> dict[str, Any] | None:
        """The provider's own figures, and input, output and total tokens under one name for all of them."""
        if not self.usage:
            return None
        read = self._count("input_tokens", "prompt_tokens", "promptTokenCount")
        written = self._count("output_tokens", "completion_tokens")
        if not written:
            # Google counts thoughts apart from the answer; the others within it.
            written = self._count("candidatesTokenCount") + self._count("thoughtsTokenCount")
        total = self._count("total_tokens", "totalTokenCount") or read + written
        return {**self.usage, "input_tokens": read, "output_tokens": written, "total_tokens": total}

    def _count(self, *names: str) -> int:
        return next((value for name in names if type(value := self.usage.get(name)) is int), 0)
