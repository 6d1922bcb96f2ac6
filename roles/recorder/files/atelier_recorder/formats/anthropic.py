"""Anthropic messages. Source: Anthropic API reference, "Create a message" and "Streaming messages"."""

from __future__ import annotations

from typing import Any

from .common import StreamParser, as_dict, as_json_text, as_text, dicts, message, request, text_of, tool_call

_TOOL_USES = {"tool_use", "server_tool_use", "mcp_tool_use"}


def parse_request(body: dict[str, Any], url: str) -> dict[str, Any]:
    return request(
        body,
        ("model", "messages", "system", "tools"),
        [found for item in dicts(body.get("messages")) for found in _messages(item)],
        system=text_of(body.get("system")),
        tools=[tool.get("name") for tool in dicts(body.get("tools"))],
    )


def _messages(item: dict[str, Any]) -> list[dict[str, Any]]:
    """Converts one message. Tool results, which Anthropic puts into the user's message, become separate messages."""
    content = item.get("content")
    if not isinstance(content, list):
        return [message(item.get("role"), text_of(content))]
    results, calls, thoughts, others = [], [], [], []
    for block in dicts(content):
        kind = as_text(block.get("type"))
        if kind.endswith("tool_result"):
            identifier = as_text(block.get("tool_use_id"))
            results.append(message("tool", text_of(block.get("content")), tool_call_id=identifier))
        elif kind in _TOOL_USES:
            calls.append(tool_call(block.get("id"), block.get("name"), block.get("input")))
        elif kind == "thinking":
            thoughts.append(as_text(block.get("thinking")))
        elif kind != "redacted_thinking":
            others.append(block)
    text, reasoning = text_of(others), "\n".join(thoughts)
    if text or calls or reasoning or not results:
        results.append(message(item.get("role"), text, tool_calls=calls, reasoning=reasoning))
    return results


class Parser(StreamParser):
    def feed(self, event: dict[str, Any]) -> None:
        kind = event.get("type")
        if kind == "message_start":
            self._note(as_dict(event.get("message")))
        elif kind == "content_block_start":
            self._start(event.get("index"), as_dict(event.get("content_block")))
        elif kind == "content_block_delta":
            self._add(event.get("index"), as_dict(event.get("delta")))
        elif kind == "message_delta":
            self._note({**as_dict(event.get("delta")), "usage": event.get("usage")})
        elif kind == "message_stop":
            self.ended = True
        elif kind == "error":
            self.note(event)

    def whole(self, body: dict[str, Any]) -> None:
        self._note(body)
        for index, block in enumerate(dicts(body.get("content"))):
            self._start(index, block)
        self.ended = True

    def result(self) -> dict[str, Any]:
        for call in self.tool_calls.values():
            # A tool without arguments sends no piece of them.
            if not "".join(call["arguments"]):
                call["arguments"] = [as_json_text(call.get("input") or {})]
        return super().result()

    def _note(self, body: dict[str, Any]) -> None:
        self.note(body)
        self.finish_reason = as_text(body.get("stop_reason")) or self.finish_reason

    def _start(self, index: object, block: dict[str, Any]) -> None:
        kind = as_text(block.get("type"))
        if kind in _TOOL_USES:
            call = self.open_tool_call(index if isinstance(index, int) else len(self.tool_calls))
            call["id"], call["name"] = as_text(block.get("id")), as_text(block.get("name"))
            call["input"] = block.get("input")
        elif kind == "thinking":
            self.reasoning.append(as_text(block.get("thinking")))
        elif kind == "text":
            self.content.append(as_text(block.get("text")))

    def _add(self, index: object, delta: dict[str, Any]) -> None:
        kind = delta.get("type")
        if kind == "text_delta":
            self.content.append(as_text(delta.get("text")))
        elif kind == "thinking_delta":
            self.reasoning.append(as_text(delta.get("thinking")))
        elif kind == "input_json_delta" and isinstance(index, int):
            self.open_tool_call(index)["arguments"].append(as_text(delta.get("partial_json")))
