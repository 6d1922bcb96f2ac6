"""One module for each API's format. Each has ``parse_request(body, url) -> dict`` and a class ``StreamParser``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import anthropic, google, openai_chat, openai_responses
from .common import StreamParser

_REQUESTS: dict[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {
    "openai-chat": openai_chat.parse_request,
    "openai-responses": openai_responses.parse_request,
    "openai-realtime": openai_responses.parse_request,
    "anthropic-messages": anthropic.parse_request,
    "google-generate": google.parse_request,
}
_PARSERS: dict[str, type[StreamParser]] = {
    "openai-chat": openai_chat.ChatParser,
    "openai-responses": openai_responses.ResponsesParser,
    "openai-realtime": openai_responses.ResponsesParser,
    "anthropic-messages": anthropic.AnthropicParser,
    "google-generate": google.GoogleParser,
}


def parse_request(api: str, body: dict[str, Any], url: str) -> dict[str, Any]:
    """Parses a request: model, system, messages, tools (names), parameters. Never raises for odd JSON."""
    return _REQUESTS[api](body, url)


def new_parser(api: str) -> StreamParser:
    """Returns a parser that collects the answer, event by event."""
    return _PARSERS[api]()
