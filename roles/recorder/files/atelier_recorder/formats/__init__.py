"""One module for each API's format. Each has ``parse_request(body, url) -> dict`` and a class ``Parser``."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from . import anthropic, google, openai_chat, openai_responses
from .common import StreamParser

FORMATS: dict[str, ModuleType] = {
    "openai-chat": openai_chat,
    "openai-responses": openai_responses,
    "openai-realtime": openai_responses,
    "anthropic-messages": anthropic,
    "google-generate": google,
}


def parse_request(api: str, body: dict[str, Any], url: str) -> dict[str, Any]:
    """Parses a request: model, system, messages, tools (names), parameters. Never raises for odd JSON."""
    parsed: dict[str, Any] = FORMATS[api].parse_request(body, url)
    return parsed


def new_parser(api: str) -> StreamParser:
    """Returns a parser that collects the answer, event by event."""
    parser: StreamParser = FORMATS[api].Parser()
    return parser
