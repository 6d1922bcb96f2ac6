"""Removes secrets from texts: keys, tokens, passwords.

Headers are not recorded at all. The values of a request's credential headers are removed wherever else they occur, and
so are known forms of keys, and values whose names show that they are secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

MARK = "[redacted]"
# Shorter values than this are words, not secrets, and taking them out would spoil the text.
_SHORTEST = 8
# Maximum per request. A normal one has a few; those of the headers come first, in their order.
_MOST_SECRETS = 100
_LONGEST_NAME = 100
_LONGEST_QUERY = 65536
CREDENTIAL_HEADERS = (
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "ocp-apim-subscription-key",
    "cookie",
    "x-auth-token",
    "x-amz-security-token",
    "sec-websocket-protocol",
)
# Texts are untrusted and long. So each pattern runs in linear time: it starts only at a word boundary, is possessive,
# or is bounded. tests/unit/test_recorder_hostile.py measures it.
_KEYS = re.compile(
    r"""
      \b(?:sk|pk|rk)-[A-Za-z0-9_-]{8,}                       # OpenAI, Anthropic, OpenRouter and others
    | \b(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{8,}           # Stripe
    | \bAIza[0-9A-Za-z_-]{16,}                               # Google
    | \bya29\.[0-9A-Za-z_-]{16,}
    | \bgh[pousr]_[A-Za-z0-9]{16,}                           # GitHub
    | \bgithub_pat_[A-Za-z0-9_]{16,}
    | \bgl(?:pat|dt|rt|cbt|ptt|ft|soat)-[A-Za-z0-9_-]{16,}   # GitLab
    | \bxox[a-z]-[A-Za-z0-9-]{8,}                            # Slack
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b                          # AWS
    | \b(?:hf|gsk|npm|pplx|xai|dop_v1)[_-][A-Za-z0-9]{16,}   # Hugging Face, Groq, npm, Perplexity, xAI
    | (?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]*+   # JSON Web Token
    | (?<=Bearer\ )[A-Za-z0-9._~+/-]{8,}=*
    | (?<=://)[^/\s:@]{1,100}+:[^/\s:@]{1,200}+(?=@)          # user and password of an address
    | -----BEGIN\ [A-Z ]{0,30}PRIVATE\ KEY-----.*?(?:-----END\ [A-Z ]{0,30}PRIVATE\ KEY-----|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_SECRET_NAME = re.compile(
    r"(?:.*[-_.])?(?:api[-_]?key|authorization|password|passwd|secret|client[-_]?secret|access[-_]?token|refresh[-_]?token"
    r"|auth[-_]?token|private[-_]?key|cookie)|(?:apiKey|accessToken|clientSecret)",
    re.IGNORECASE,
)
_SECRET_QUERY = re.compile(
    r"(?:.*[-_])?(?:key|api-?key|token|access_token|auth|authorization|password|secret|sig|signature)", re.IGNORECASE
)


def secrets_of(headers: Iterable[tuple[str, str]], url: str = "") -> tuple[str, ...]:
    """The values that credential headers and the address carry, longest first, each without its scheme."""
    found: dict[str, None] = {}
    for name, value in headers:
        if name.lower() not in CREDENTIAL_HEADERS:
            continue
        found[value] = None
        # "Bearer <token>", "name=<value>; name=<value>", "protocol, protocol.<key>"
        for part in re.split(r"[;,\s]+", value, maxsplit=_MOST_SECRETS):
            found[part.partition("=")[2] or part] = None
    for name, value in parse_qsl(urlsplit(url).query[:_LONGEST_QUERY]):
        if _SECRET_QUERY.fullmatch(name[-_LONGEST_NAME:]):
            found[value] = None
    secrets = [value for value in found if len(value) >= _SHORTEST][:_MOST_SECRETS]
    return tuple(sorted(secrets, key=len, reverse=True))


def redact_text(text: str, secrets: Iterable[str] = ()) -> str:
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, MARK)
    return _KEYS.sub(MARK, text)


def redact_url(url: str, secrets: Iterable[str] = ()) -> str:
    """The address without user, fragment and secret query values."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = "&".join(
        f"{name}={MARK if _SECRET_QUERY.fullmatch(unquote(name[-_LONGEST_NAME:])) else value}" if equals else name
        for name, equals, value in (pair.partition("=") for pair in parts.query[:_LONGEST_QUERY].split("&"))
    )
    address = f"{parts.scheme}://{host}{parts.path}" + (f"?{query}" if query else "")
    return redact_text(address, (*secrets, *(quote(secret, safe="") for secret in secrets)))


def redact(value: Any, secrets: Iterable[str] = ()) -> Any:
    """The same structure of JSON values, with each text (and each name) redacted."""
    everything = json.dumps(value, ensure_ascii=False)
    # A look at each text for each secret would take (number of texts) x (number of secrets), both chosen by the sender.
    return _redact(
        value, tuple(secret for secret in secrets if json.dumps(secret, ensure_ascii=False)[1:-1] in everything)
    )


def _redact(value: Any, known: tuple[str, ...], name: str = "") -> Any:
    if isinstance(value, str):
        return MARK if value and _SECRET_NAME.fullmatch(name[-_LONGEST_NAME:]) else redact_json_text(value, known)
    if isinstance(value, Mapping):
        return {redact_text(str(key), known): _redact(inner, known, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redact(inner, known) for inner in value]
    return value


_JSON_PAIR = re.compile(r'((?<!\\)"((?:[^"\\]|\\.){1,80}+)"\s{0,20}+:\s{0,20}+")([^"\\]*+(?:\\.[^"\\]*+)*+)', re.DOTALL)


def redact_json_text(text: str, secrets: Iterable[str] = ()) -> str:
    """Like ``redact_text``, and redacts JSON in it, complete or cut, by its names: the arguments of a tool call."""
    return redact_text(
        _JSON_PAIR.sub(lambda pair: pair[1] + (MARK if _SECRET_NAME.fullmatch(pair[2]) else pair[3]), text), secrets
    )
