"""OpenAI chat completions, and the many gateways that speak them.

Source: OpenAI API reference, "Create chat completion" and "The chat completion chunk object". DeepSeek and OpenRouter
add ``reasoning_content`` and ``reasoning``.
"""

from __future__ import annotations

from typing import Any

from .common import StreamParser, as_dict, as_text, dicts, message, request, text_of, tool_call

_DONE = "[DONE]"


def parse_request(body: dict[str, Any], url: str) -> dict[str, Any]:
    tools = [as_dict(tool.get("function")).get("name") or tool.get("name") for tool in dicts(body.get("tools"))]
    tools += [function.get("name") for function in dicts(body.get("functions"))]
    return request(
        body,
        ("model", "messages", "tools", "functions"),
        [_message(item) for item in dicts(body.get("messages"))],
        system="",
        tools=tools,
    )


def _message(item: dict[str, Any]) -> dict[str, Any]:
    calls = []
    for call in dicts(item.get("tool_calls")):
        function = as_dict(call.get("function"))
        calls.append(tool_call(call.get("id"), function.get("name"), function.get("arguments")))
    if function := as_dict(item.get("function_call")):
        calls.append(tool_call("", function.get("name"), function.get("arguments")))
    return message(
        item.get("role"), text_of(item.get("content")), tool_calls=calls, tool_call_id=as_text(item.get("tool_call_id"))
    )


class Parser(StreamParser):
    def feed(self, event: dict[str, Any]) -> None:
        if event.get("type") == _DONE:
            self.ended = True
            return
        self.note(event)
        for choice in dicts(event.get("choices")):
            # Only the first of several choices belongs to the conversation.
            if choice.get("index", 0) == 0:
                self._add(as_dict(choice.get("delta")) or as_dict(choice.get("message")))
                self._finish(choice)

    def whole(self, body: dict[str, Any]) -> None:
        self.note(body)
        for choice in dicts(body.get("choices"))[:1]:
            self._add(as_dict(choice.get("message")))
            self._finish(choice)
        self.ended = True

    def _finish(self, choice: dict[str, Any]) -> None:
        if reason := as_text(choice.get("finish_reason")):
            self.finish_reason = reason
            self.ended = True  # not every gateway sends the end mark

    def _add(self, delta: dict[str, Any]) -> None:
        if isinstance(delta.get("content"), list | dict):
            self.content.append(text_of(delta["content"]))
        self.content.append(as_text(delta.get("content")) or as_text(delta.get("refusal")))
        self.reasoning.append(as_text(delta.get("reasoning_content")) or as_text(delta.get("reasoning")))
        for position, call in enumerate(dicts(delta.get("tool_calls"))):
            self._add_call(call.get("index", position), call, as_dict(call.get("function")))
        if function := as_dict(delta.get("function_call")):
            self._add_call("function_call", {}, function)

    def _add_call(self, index: object, call: dict[str, Any], function: dict[str, Any]) -> None:
        known = self.open_tool_call(index if isinstance(index, int | str) else 0)
        known["id"] = as_text(call.get("id")) or known["id"]
        known["name"] = as_text(function.get("name")) or known["name"]
        known["arguments"].append(as_text(function.get("arguments")))
