"""Builds the record of a call: the content of a conversation's file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..body_buffer import decode
from ..formats import FORMATS
from ..formats.common import StreamParser, as_dict
from ..messages import Exchanged
from ..redact import redact, redact_json_text, redact_text, redact_url
from .plain_json import plain, read_json
from .sse import json_events, json_values

# Length of the excerpt that is kept of an unreadable body.
_RAW_CHARACTERS = 4096
# Maximum length of an address, before and after its secrets are taken out.
_LONGEST_URL, _LONGEST_SHOWN_URL = 65536, 2000
# A key that every call of an API has. A provider for any host needs it to exclude other requests.
_LOOKS = {
    "openai-chat": "messages",
    "openai-responses": "input",
    "anthropic-messages": "messages",
    "google-generate": "contents",
}


def call_record(call: Exchanged, timestamp: str, limit: int) -> dict[str, Any] | None:
    """The record of an HTTP call, or None if it is not an LLM call. ``limit``: bytes of each body that are read."""
    raw, whole_request = decode(call.request, call.request_encoding, limit)
    text = raw.decode("utf-8", "replace")
    body = _object(text)
    if call.any_host and _LOOKS.get(call.api, "") not in body and not (call.truncated and '"model"' in text):
        return None
    parsed_request = FORMATS[call.api].parse_request(body, call.url) if body else None
    parsed_response, raw_response, whole_response = _response(call, limit)
    if not parsed_response["model"] and parsed_request is not None:
        parsed_response["model"] = parsed_request["model"]
    return record(
        replace(call, truncated=call.truncated or not whole_request),
        timestamp,
        parsed_request,
        parsed_response,
        incomplete=not (call.ended and whole_response) or call.error is not None,
        raw_request=None if body else text[:_RAW_CHARACTERS],
        raw_response=raw_response,
    )


def slow_record(call: Exchanged, timestamp: str) -> dict[str, Any]:
    """The record of a call that took too long to read."""
    error = "This call took the recorder too long to read; its content is left out."
    short = replace(call, url=call.url[:_LONGEST_SHOWN_URL], truncated=True, error=error)
    return record(short, timestamp, None, {}, incomplete=True)


def _object(text: str) -> dict[str, Any]:
    try:
        return as_dict(read_json(text))
    except (ValueError, RecursionError):
        return {}


def _response(call: Exchanged, limit: int) -> tuple[dict[str, Any], str | None, bool]:
    """The answer, its text where it could not be read, and whether it is all there."""
    raw, whole = decode(call.response, call.response_encoding, limit)
    text = raw.decode("utf-8", "replace")
    answer: StreamParser = FORMATS[call.api].Parser()
    if "event-stream" in call.response_type or text.startswith(("data:", "event:", ":")):
        for event in json_events(text):
            answer.feed(event)
    else:
        bodies, all_read = json_values(text)
        if len(bodies) == 1 and not text.lstrip().startswith("["):
            answer.whole(bodies[0])
        else:
            for body in bodies:
                answer.feed(body)
        whole = whole and all_read
    unread = answer.is_empty() and not answer.usage and answer.error is None
    return answer.result(), text[:_RAW_CHARACTERS] if unread and text else None, whole and answer.ended


def record(
    call: Exchanged,
    timestamp: str,
    parsed_request: dict[str, Any] | None,
    parsed_response: dict[str, Any],
    *,
    incomplete: bool,
    raw_request: str | None = None,
    raw_response: str | None = None,
) -> dict[str, Any]:
    """Builds a record of what was read in a call. Keys that readers filter by come first, so they can skip the rest."""
    secrets = call.secrets
    model = (parsed_request or {}).get("model") or parsed_response.get("model") or ""
    return {
        "timestamp": timestamp,
        "model": redact_text(str(model), secrets)[:200],
        "provider": call.api,
        "method": call.method[:20],
        "url": redact_url(call.url[:_LONGEST_URL], secrets)[:_LONGEST_SHOWN_URL],
        "status": call.status,
        "duration_ms": call.finished - call.started if call.finished else None,
        "first_byte_ms": call.first_byte - call.started if call.first_byte else None,
        "incomplete": incomplete,
        "truncated": call.truncated,
        "error": redact_text(call.error, secrets) if call.error else None,
        "parsed_request": redact(plain(parsed_request), secrets),
        "parsed_response": redact(plain(parsed_response), secrets),
        "raw_request": redact_json_text(raw_request, secrets) if raw_request else None,
        "raw_response": redact_json_text(raw_response, secrets) if raw_response else None,
    }
