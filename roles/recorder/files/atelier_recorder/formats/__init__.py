"""One module for each API's format. Each has ``parse_request(body, url) -> dict`` and a class ``Answer``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import anthropic, google, openai_chat, openai_responses
from .common import Answer

_REQUESTS: dict[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {
    "openai-chat": openai_chat.parse_request,
    "openai-responses": openai_responses.parse_request,
    "openai-realtime": openai_responses.parse_request,
    "anthropic-messages": anthropic.parse_request,
    "google-generate": google.parse_request,
}
_ANSWERS: dict[str, type[Answer]] = {
    "openai-chat": openai_chat.ChatAnswer,
    "openai-responses": openai_responses.ResponsesAnswer,
    "openai-realtime": openai_responses.ResponsesAnswer,
    "anthropic-messages": anthropic.AnthropicAnswer,
    "google-generate": google.GoogleAnswer,
}


def parse_request(api: str, body: dict[str, Any], url: str) -> dict[str, Any]:
    """What was asked: model, system, messages, tools (names), parameters. Never raises for odd JSON."""
    return _REQUESTS[api](body, url)


def new_answer(api: str) -> Answer:
    """What collects the answer, event by event."""
    return _ANSWERS[api]()
