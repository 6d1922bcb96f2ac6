"""Recorded conversations as a Markdown document: sessions, their turns, tools, tokens.

Each request to an LLM repeats the whole conversation so far; only new messages are shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ..common.errors import invalid
from .markdown import code, fenced

KINDS = ("clean", "detailed")
_SESSION_GAP = timedelta(minutes=30)
# Maximum characters of a text, and of a tool's input or output, by kind.
_LONGEST_TEXT = {"clean": 20_000, "detailed": 200_000}
_LONGEST_TOOL = {"clean": 500, "detailed": 20_000}
# Larger documents cannot be opened. Only the number of the remaining conversations is shown.
_MOST_CHARACTERS = 20_000_000


@dataclass(frozen=True)
class Document:
    text: str
    conversation_count: int


@dataclass
class _Session:
    first_message: tuple[str, str]
    last_time: datetime
    started: str
    exchanges: int = 0
    models: list[str] = field(default_factory=list)
    tokens: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)
    # The messages of both sides so far, and the answers' ids, which later requests may refer to.
    transcript: list[tuple[str, str]] = field(default_factory=list)
    answers: set[str] = field(default_factory=set)


def write_document(conversations: Iterable[Mapping[str, Any]], *, kind: str = "clean", name: str = "") -> Document:
    """Writes a document. ``conversations``: oldest first, as from recordings.all_conversations; ``name``: the
    workspace's, for the title. ``clean`` has the messages and the names of used tools; ``detailed`` also system
    prompts, thoughts, settings, times and tokens of each call. Raises VALIDATION_ERROR for another kind."""
    if kind not in KINDS:
        raise invalid("input.document", "type", value=kind[:20], known=", ".join(KINDS))
    sessions: list[_Session] = []
    count = left_out = size = 0
    for conversation in conversations:
        count += 1
        if size > _MOST_CHARACTERS:
            left_out += 1
            continue
        session = _session_of(conversation, sessions)
        before = len(session.lines)
        _add(session, conversation, kind)
        size += sum(map(len, session.lines[before:]))
    lines = ["# AI Session Documentation", "", *_summary(sessions, count, name)]
    for number, session in enumerate(sessions, 1):
        lines += ["", f"## Session {number}: {session.started[:16].replace('T', ' ')} UTC", ""]
        lines += [f"- Calls: {session.exchanges}", *_usage(session.models, session.tokens), *session.lines]
    if left_out:
        lines += ["", f"{left_out} later conversations are left out: the document would be too large."]
    return Document("\n".join(lines) + "\n", count)


def _summary(sessions: list[_Session], count: int, name: str) -> list[str]:
    tokens = Counter[str]()
    for session in sessions:
        tokens.update(session.tokens)
    models = list(dict.fromkeys(model for session in sessions for model in session.models))
    return [
        *([f"- Workspace: {code(name)}"] if name else []),
        f"- Sessions: {len(sessions)}",
        f"- Conversations: {count}",
        *_usage(models, tokens),
    ]


def _usage(models: list[str], tokens: Counter[str]) -> list[str]:
    return [f"- Models: {', '.join(map(code, models)) or 'none'}", f"- Tokens: {_tokens(tokens)}"]


def _session_of(conversation: Mapping[str, Any], sessions: list[_Session]) -> _Session:
    """The session that it continues: the same first message, or a reference to its answer, and no long gap."""
    time = datetime.fromisoformat(str(conversation["timestamp"]))
    messages = _messages(conversation)
    first = _key(messages[0]) if messages else ("", "")
    previous = _previous_answer(conversation)
    for session in reversed(sessions):
        if time - session.last_time < _SESSION_GAP and (session.first_message == first or previous in session.answers):
            session.last_time = max(time, session.last_time)
            return session
    sessions.append(_Session(first, time, str(conversation.get("timestamp") or "")))
    return sessions[-1]


def _add(session: _Session, conversation: Mapping[str, Any], kind: str) -> None:
    response = _mapping(conversation.get("parsed_response"))
    session.exchanges += 1
    model = str(conversation.get("model") or response.get("model") or "")
    if model and model not in session.models:
        session.models.append(model)
    usage = _mapping(response.get("usage"))
    tokens = Counter({name: _number(usage.get(f"{name}_tokens")) for name in ("input", "output", "total")})
    session.tokens.update(tokens)
    if kind == "detailed":
        session.lines += _details(conversation, tokens, is_first=session.exchanges == 1)
    for message in _new_messages(session, conversation):
        session.lines += _message_lines(message, kind)
    answer = {"role": "assistant", **response}
    session.lines += _message_lines(answer, kind)
    if conversation.get("incomplete"):
        session.lines += ["", "*The answer was cut off.*"]
    if response.get("error"):
        session.lines += ["", "The API answered with an error:", *fenced(str(response["error"]), limit=2000)]
    session.transcript.append(_key(answer))
    if identifier := response.get("id"):
        session.answers.add(str(identifier))


def _new_messages(session: _Session, conversation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns the request's new messages, and adds them to the session."""
    messages = _messages(conversation)
    keys = [_key(message) for message in messages]
    if _previous_answer(conversation) in session.answers:
        session.transcript += keys
        return messages
    known = 0
    while known < min(len(keys), len(session.transcript)) and keys[known] == session.transcript[known]:
        known += 1
    if session.exchanges > 1:
        # An answer comes back in the next request, sometimes in other pieces than it was given in.
        while known < len(keys) and keys[known][0] == "assistant":
            known += 1
    session.transcript = keys
    return messages[known:]


def _details(conversation: Mapping[str, Any], tokens: Counter[str], *, is_first: bool) -> list[str]:
    request = _mapping(conversation.get("parsed_request"))
    response = _mapping(conversation.get("parsed_response"))
    lines = ["", f"### Call at {code(str(conversation.get('timestamp')))}", ""]
    lines.append(f"- Address: {code(str(conversation.get('url')))}")
    lines.append(f"- Model: {code(str(conversation.get('model')))}")
    lines.append(f"- Status: {_number(conversation.get('status'))}, tokens: {_tokens(tokens)}")
    if conversation.get("duration_ms") is not None:
        lines.append(f"- Time: {_number(conversation.get('duration_ms'))} ms")
    if response.get("finish_reason"):
        lines.append(f"- Ended with: {code(str(response['finish_reason']))}")
    for name, value in sorted(_mapping(request.get("parameters")).items()):
        lines.append(f"- {code(name)}: {code(str(value), limit=200)}")
    if is_first and request.get("tools"):
        lines.append(f"- Tools: {', '.join(code(str(tool)) for tool in request['tools'])}")
    if is_first and request.get("system"):
        lines += ["", "**System**", *fenced(str(request["system"]), limit=_LONGEST_TEXT["detailed"])]
    return lines


_HEADINGS = {"user": "User", "assistant": "Assistant", "system": "System", "developer": "System", "tool": "Tool result"}


def _message_lines(message: Mapping[str, Any], kind: str) -> Iterator[str]:
    role = str(message.get("role") or "user")
    text = str(message.get("content") or "")
    thoughts = str(message.get("reasoning") or "") if kind == "detailed" else ""
    calls = [_mapping(call) for call in message.get("tool_calls") or []]
    if kind == "clean" and role in ("system", "developer"):
        return
    if not (text or thoughts or calls):
        return
    yield ""
    yield f"**{_HEADINGS.get(role, 'User')}**"
    if thoughts:
        yield from ("", "Thoughts:", *fenced(thoughts, limit=_LONGEST_TEXT[kind]))
    if text:
        yield from fenced(text, limit=(_LONGEST_TOOL if role == "tool" else _LONGEST_TEXT)[kind])
    for call in calls:
        yield from ("", f"Tool {code(str(call.get('name')))}:")
        yield from fenced(str(call.get("arguments") or ""), limit=_LONGEST_TOOL[kind])


def _messages(conversation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = _mapping(conversation.get("parsed_request")).get("messages")
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def _previous_answer(conversation: Mapping[str, Any]) -> str | None:
    """The id of the answer that the request continues; None for one that repeats the conversation."""
    parameters = _mapping(_mapping(conversation.get("parsed_request")).get("parameters"))
    id = parameters.get("previous_response_id")
    return id if isinstance(id, str) else None


def _key(message: Mapping[str, Any]) -> tuple[str, str]:
    return str(message.get("role") or "user"), str(message.get("content") or "").strip()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> int:
    return int(value) if isinstance(value, int) else 0  # true and false are integers, too


def _tokens(tokens: Counter[str]) -> str:
    return f"{tokens['input']} in, {tokens['output']} out, {tokens['total']} in all"
