"""Google's generateContent and streamGenerateContent. Source: Gemini API reference, "Generating content"."""

from __future__ import annotations

import re
from typing import Any

from .common import StreamParser, as_dict, as_json_text, as_text, dicts, message, request, tool_call

_MODEL = re.compile(r"/models/([^/:?]{1,200}):")


def parse_request(body: dict[str, Any], url: str) -> dict[str, Any]:
    found = _MODEL.search(url)
    system = as_dict(body.get("systemInstruction") or body.get("system_instruction"))
    tools: list[object] = []
    for tool in dicts(body.get("tools")):
        declared = dicts(tool.get("functionDeclarations") or tool.get("function_declarations"))
        tools += [function.get("name") for function in declared] or list(tool)
    return request(
        {**body, "model": found[1]} if found else body,
        ("contents", "systemInstruction", "system_instruction", "tools", "model"),
        [one for content in dicts(body.get("contents")) for one in _messages(content)],
        system=_text(dicts(system.get("parts"))),
        tools=tools,
    )


def _messages(content: dict[str, Any]) -> list[dict[str, Any]]:
    parts = dicts(content.get("parts"))
    results = [
        message("tool", as_json_text(given.get("response")), tool_call_id=as_text(given.get("name")))
        for part in parts
        if (given := as_dict(part.get("functionResponse")))
    ]
    calls = [
        tool_call(call.get("id"), call.get("name"), call.get("args"))
        for part in parts
        if (call := as_dict(part.get("functionCall")))
    ]
    text = _text(parts)
    role = "assistant" if content.get("role") == "model" else content.get("role")
    return results + ([message(role, text, tool_calls=calls)] if text or calls or not results else [])


def _text(parts: list[dict[str, Any]]) -> str:
    return "".join(as_text(part.get("text")) or ("[content]" if "inlineData" in part else "") for part in parts)


class Parser(StreamParser):
    def feed(self, event: dict[str, Any]) -> None:
        self.note(event, ("modelVersion", "responseId", "usageMetadata", "error"))
        if reason := as_text(as_dict(event.get("promptFeedback")).get("blockReason")):
            self.finish_reason, self.ended = reason, True
        for candidate in dicts(event.get("candidates"))[:1]:
            for part in dicts(as_dict(candidate.get("content")).get("parts")):
                self._add(part)
            if reason := as_text(candidate.get("finishReason")):
                self.finish_reason, self.ended = reason, True

    def whole(self, body: dict[str, Any]) -> None:
        self.feed(body)
        self.ended = True

    def _add(self, part: dict[str, Any]) -> None:
        if call := as_dict(part.get("functionCall")):
            known = self.open_tool_call(len(self.tool_calls))
            known["id"], known["name"] = as_text(call.get("id")), as_text(call.get("name"))
            known["arguments"] = [as_json_text(as_dict(call.get("args")))]
        elif part.get("thought"):
            self.reasoning.append(as_text(part.get("text")))
        else:
            self.content.append(as_text(part.get("text")))
