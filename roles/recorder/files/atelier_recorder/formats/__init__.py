"""One module for each API's format. Each has ``parse_request(body, url)``, which returns model, system, messages, tools
(names) and parameters of a request, and a class ``Parser``, which collects an answer event by event. Neither raises
for odd JSON."""

from __future__ import annotations

from types import ModuleType

from . import anthropic, google, openai_chat, openai_responses

FORMATS: dict[str, ModuleType] = {
    "openai-chat": openai_chat,
    "openai-responses": openai_responses,
    "openai-realtime": openai_responses,
    "anthropic-messages": anthropic,
    "google-generate": google,
}
