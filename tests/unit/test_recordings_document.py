"""Recorded conversations as a document."""

from __future__ import annotations

import re
from typing import Any

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.recordings.document import write_document
from atelier.recordings.markdown import code, fenced
from markdown_it import MarkdownIt
from support import refused


def said(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def call(
    minute: int,
    messages: list[dict[str, Any]],
    answer: str,
    *,
    parameters: dict[str, Any] | None = None,
    **response: Any,
) -> dict[str, Any]:
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    return {
        "timestamp": f"2026-02-14T{10 + minute // 60:02d}:{minute % 60:02d}:00.000Z",
        "model": "gpt-test",
        "url": "https://api.example/v1",
        "status": 200,
        "duration_ms": 1200,
        "parsed_request": {
            "model": "gpt-test",
            "system": "be kind",
            "messages": messages,
            "tools": ["read_file"],
            "parameters": parameters or {"temperature": 0.5},
        },
        "parsed_response": {"content": answer, "reasoning": "hm", "tool_calls": [], "usage": usage, **response},
    }


TOOL = {"id": "c1", "name": "read_file", "arguments": '{"path": "a.py"}'}
FIRST = [said("user", "What is in a.py?")]
SECOND = [*FIRST, said("assistant", "I look.", tool_calls=[TOOL]), said("tool", "print(1)", tool_call_id="c1")]
SESSION = [
    call(0, FIRST, "I look.", tool_calls=[TOOL]),
    call(1, SECOND, "It prints 1."),
    call(2, [*SECOND, said("assistant", "It prints 1."), said("user", "Thanks")], "Welcome"),
]


def test_each_turn_is_told_once() -> None:
    text = write_document(SESSION, name="base").text
    for words in ("What is in a.py?", "I look.", '{"path": "a.py"}', "print(1)", "It prints 1.", "Thanks", "Welcome"):
        assert text.count(words) == 1, words
    places = [text.index(words) for words in ("What is", "I look.", "print(1)", "It prints", "Thanks", "Welcome")]
    assert places == sorted(places)
    assert "- Workspace: `base`" in text
    assert "- Sessions: 1" in text
    assert "- Tokens: 30 in, 15 out, 45 in all" in text
    assert "be kind" not in text
    assert "temperature" not in text


def test_the_detailed_one_tells_more() -> None:
    document = write_document(SESSION, kind="detailed")
    assert document.conversation_count == 3
    for words in ("be kind", "`temperature`: `0.5`", "1200 ms", "hm", "`2026-02-14T10:01:00.000Z`", "`read_file`"):
        assert words in document.text, words
    assert document.text.count("be kind") == 1


def test_sessions_end_with_a_pause_or_another_first_message() -> None:
    other = [said("user", "Another matter")]
    calls = [call(0, FIRST, "a"), call(1, other, "b"), call(2, FIRST, "c"), call(40, FIRST, "d")]
    text = write_document(calls).text
    assert re.findall(r"^## Session \d: (.*)$", text, re.MULTILINE) == [
        "2026-02-14 10:00 UTC",
        "2026-02-14 10:01 UTC",
        "2026-02-14 10:40 UTC",
    ]


def test_a_request_may_name_the_answer_that_it_goes_on_from() -> None:
    calls = [
        call(0, FIRST, "one", id="resp_1"),
        call(1, [said("user", "more")], "two", parameters={"previous_response_id": "resp_1"}),
    ]
    assert "- Sessions: 1" in write_document(calls).text


HOSTILE = [
    "```\n# Not a heading\n```",
    "````\n```\n<script>alert(1)</script>",
    "~~~\n## x\n</details></div>",
    "---\n# A\n- b\n| c | d |",
    "x\r# A\r\n# B\u2028# C",
    "`" * 50 + "\n<img src=x onerror=alert(1)>",
    "[link](javascript:alert(1)) ![](http://x.example/y.png)",
    "\x1b[31mred\x00",
]


@pytest.mark.parametrize("kind", ["clean", "detailed"])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_foreign_text_stays_text(kind: str, hostile: str) -> None:
    """Read by a Markdown parser: nothing but our own headings, no HTML, no link, no picture."""
    tool = {"id": hostile, "name": hostile, "arguments": hostile}
    messages = [said("user", hostile), said("tool", hostile), said(hostile, hostile, tool_calls=[tool])]
    conversation = call(0, messages, hostile, tool_calls=[tool], finish_reason=hostile, error=hostile)
    conversation |= {"model": hostile, "url": hostile}
    conversation["parsed_request"] |= {"system": hostile, "tools": [hostile], "parameters": {hostile: hostile}}
    tokens = MarkdownIt("commonmark").parse(write_document([conversation], kind=kind, name=hostile).text)
    flat = [inner for token in tokens for inner in (token, *(token.children or []))]
    assert not {token.type for token in flat} & {"html_block", "html_inline", "link_open", "image", "table_open", "hr"}
    headings = [tokens[place + 1].content for place, token in enumerate(tokens) if token.type == "heading_open"]
    assert all(heading.startswith(("AI Session Documentation", "Session 1", "Call at `")) for heading in headings)
    shown = "".join(token.content for token in flat if token.type == "fence")
    assert hostile.replace("\r\n", "\n").split("\n")[-1].strip("\x1b\x00\r")[-8:].replace("\u2028", "") in shown


def test_long_texts_are_cut() -> None:
    text = write_document([call(0, [said("user", "x" * 50_000)], "y")]).text
    assert len(text) < 25_000
    assert "30000 more characters" in text


def test_odd_records_are_documented_as_far_as_they_go() -> None:
    bare = {"timestamp": "2026-02-14T10:00:00.000Z"}
    odd = bare | {
        "parsed_request": {"messages": "x", "parameters": 3},
        "parsed_response": {"usage": [], "content": None},
    }
    odder = bare | {"parsed_request": {"messages": [said("user", "x")], "parameters": {"previous_response_id": [1]}}}
    kept = [bare, odd, bare | {"parsed_request": None}, odder]
    assert write_document(kept, kind="detailed").conversation_count == 4
    # JSON's true is no word for a sum.
    unsure = bare | {"parsed_response": {"usage": {"input_tokens": True, "total_tokens": "7"}}}
    assert write_document([unsure]).text.count("- Tokens: 1 in, 0 out, 0 in all") == 2
    assert write_document([]).text.startswith("# AI Session Documentation")


def test_kinds() -> None:
    with pytest.raises(AtelierError) as error:
        write_document([], kind="poem")
    refused(error, Code.VALIDATION_ERROR, "type")


def test_blocks_and_spans() -> None:
    assert fenced("a ```` b", limit=100) == ["", "`````text", "a ```` b", "`````"]
    assert code("`x`") == "`` `x` ``"
    assert code("a\nb") == "`a b`"
    assert code("") == "(none)"
