"""OpenAI responses, over HTTP and WebSocket, and the realtime sessions, whose events are of the same family.

Source: OpenAI API reference, "Create a model response", "Streaming events" and "Realtime server events".
"""

from __future__ import annotations

from typing import Any

from .common import StreamParser, as_dict, as_json_text, as_text, dicts, message, request, text_of, tool_call

# Events with an answer's text, or with the transcript of its audio.
_TEXT_DELTAS = {
    "response.output_text.delta",
    "response.refusal.delta",
    "response.text.delta",
    "response.audio_transcript.delta",
    "response.output_audio_transcript.delta",
}
_REASONING_DELTAS = {"response.reasoning_summary_text.delta", "response.reasoning_text.delta"}
_ARGUMENT_DELTAS = {"response.function_call_arguments.delta", "response.custom_tool_call_input.delta"}
ENDS = {"response.completed", "response.incomplete", "response.failed", "response.done", "response.cancelled"}
_CALLS = {"function_call", "custom_tool_call", "mcp_call"}
_CALL_OUTPUTS = {"function_call_output", "custom_tool_call_output"}


def parse_request(body: dict[str, Any], url: str) -> dict[str, Any]:
    given = body.get("input")
    messages = [message("user", given)] if isinstance(given, str) else [parse_item(item) for item in dicts(given)]
    return request(
        body,
        ("type", "event_id", "model", "input", "instructions", "tools"),
        messages,
        system=as_text(body.get("instructions")),
        tools=[tool.get("name") or tool.get("type") for tool in dicts(body.get("tools"))],
    )


def parse_item(item: dict[str, Any]) -> dict[str, Any]:
    """Converts one item of a conversation to a message."""
    kind = as_text(item.get("type"))
    if kind in _CALLS:
        given = item.get("arguments", item.get("input", ""))
        call = tool_call(item.get("call_id") or item.get("id"), item.get("name"), given)
        return message("assistant", "", tool_calls=[call])
    if kind in _CALL_OUTPUTS:
        return message("tool", text_of(item.get("output")), tool_call_id=as_text(item.get("call_id")))
    if kind == "reasoning":
        return message("assistant", "", reasoning=_reasoning(item))
    if kind in ("", "message"):
        return message(item.get("role"), text_of(item.get("content")))
    return message("assistant", f"[{kind}]")


def _reasoning(item: dict[str, Any]) -> str:
    return "\n".join(as_text(part.get("text")) for part in dicts(item.get("summary")) + dicts(item.get("content")))


class Parser(StreamParser):
    def feed(self, event: dict[str, Any]) -> None:
        kind = as_text(event.get("type"))
        key = as_text(event.get("item_id")) or event.get("output_index")
        if kind in _TEXT_DELTAS:
            self.content.append(as_text(event.get("delta")))
        elif kind in _REASONING_DELTAS:
            self.reasoning.append(as_text(event.get("delta")))
        elif kind in _ARGUMENT_DELTAS:
            self.open_tool_call(_hashable(key))["arguments"].append(as_text(event.get("delta")))
        elif kind in ("response.output_item.added", "response.output_item.done"):
            self._note_item(as_dict(event.get("item")), key)
        elif kind in ENDS:
            self.whole(as_dict(event.get("response")))
            self.finish_reason = self.finish_reason or kind.removeprefix("response.")
        elif kind == "error":
            self.note({"error": event.get("error") or event})
        else:
            self.note(as_dict(event.get("response")))

    def whole(self, body: dict[str, Any]) -> None:
        self.note(body)
        self.finish_reason = (
            as_text(as_dict(body.get("incomplete_details") or body.get("status_details")).get("reason"))
            or as_text(body.get("status"))
            or None
        )
        self.ended = True
        output = dicts(body.get("output"))
        if not output:
            return  # some gateways leave it out here; what the events said stands
        self.content, self.reasoning, self.tool_calls = [], [], {}
        for position, item in enumerate(output):
            if item.get("type") == "reasoning":
                self.reasoning.append(_reasoning(item))
            elif item.get("type") == "message":
                self.content.append(text_of(item.get("content")))
            else:
                self._note_item(item, position)

    def _note_item(self, item: dict[str, Any], key: object) -> None:
        if as_text(item.get("type")) not in _CALLS:
            return
        known = self.open_tool_call(_hashable(as_text(item.get("id")) or key))
        known["id"] = as_text(item.get("call_id")) or as_text(item.get("id")) or known["id"]
        known["name"] = as_text(item.get("name")) or known["name"]
        if whole := item.get("arguments") or item.get("input"):
            known["arguments"] = [as_json_text(whole)]


def _hashable(key: object) -> object:
    return key if isinstance(key, str | int) else None
