"""LLM answers, whole and as streams, in the forms that the providers' public documentation shows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from atelier_recorder.formats import FORMATS
from atelier_recorder.messages import Exchanged, SocketMessage, SocketOpened
from atelier_recorder.timestamps import iso
from atelier_recorder.writer.records import call_record
from atelier_recorder.writer.sessions import Session
from atelier_recorder.writer.sse import events, json_values

CHAT = """data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1694268190,"model":"gpt-4o-mini","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}

data: {"id":"chatcmpl-123","object":"chat.completion.chunk","model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}

: a comment

data: {"id":"chatcmpl-123","model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":null}]}

data: {"id":"chatcmpl-123","model":"gpt-4o-mini","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"get_weather","arguments":""}}]},"finish_reason":null}]}

data: {"id":"chatcmpl-123","model":"gpt-4o-mini","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_b","type":"function","function":{"name":"get_time","arguments":"{}"}}]},"finish_reason":null}]}

data: {"id":"chatcmpl-123","model":"gpt-4o-mini","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\\"city\\":"}}]},"finish_reason":null}]}

data: {"id":"chatcmpl-123","model":"gpt-4o-mini","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":" \\"Ulm\\"}"}}]},"finish_reason":null}]}

data: {"id":"chatcmpl-123","model":"gpt-4o-mini","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}

data: {"id":"chatcmpl-123","model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29}}

data: [DONE]

"""  # noqa: E501
ANTHROPIC = """event: message_start
data: {"type":"message_start","message":{"id":"msg_014p","type":"message","role":"assistant","content":[],"model":"claude-opus-4","stop_reason":null,"usage":{"input_tokens":472,"output_tokens":2}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Where is it?"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQBCgIYAhIM"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Let me check"}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":" the weather."}}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_01","name":"get_weather","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\\"location\\":"}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":" \\"Ulm\\"}"}}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_02","name":"now","input":{}}}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":89}}

event: message_stop
data: {"type":"message_stop"}

"""  # noqa: E501
RESPONSES = """event: response.created
data: {"type":"response.created","response":{"id":"resp_67","status":"in_progress","model":"gpt-4.1","output":[],"usage":null}}

event: response.output_item.added
data: {"type":"response.output_item.added","output_index":0,"item":{"id":"msg_67","type":"message","role":"assistant","content":[]}}

event: response.output_text.delta
data: {"type":"response.output_text.delta","item_id":"msg_67","output_index":0,"content_index":0,"delta":"Hi"}

event: response.output_item.added
data: {"type":"response.output_item.added","output_index":1,"item":{"type":"function_call","id":"fc_1","call_id":"call_1","name":"ls","arguments":""}}

event: response.function_call_arguments.delta
data: {"type":"response.function_call_arguments.delta","item_id":"fc_1","output_index":1,"delta":"{\\"path\\":\\".\\"}"}

"""  # noqa: E501
RESPONSES_END = """event: response.completed
data: {"type":"response.completed","response":{"id":"resp_67","status":"completed","model":"gpt-4.1","output":[{"id":"rs_1","type":"reasoning","summary":[{"type":"summary_text","text":"Short."}]},{"id":"msg_67","type":"message","role":"assistant","content":[{"type":"output_text","text":"Hi","annotations":[]}]},{"type":"function_call","id":"fc_1","call_id":"call_1","name":"ls","arguments":"{\\"path\\":\\".\\"}"}],"usage":{"input_tokens":37,"output_tokens":11,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":48}}}

"""  # noqa: E501
GOOGLE = [
    {"candidates": [{"content": {"parts": [{"text": "Let me see. ", "thought": True}], "role": "model"}, "index": 0}]},
    {"candidates": [{"content": {"parts": [{"text": "One "}], "role": "model"}}], "modelVersion": "gemini-2.5-flash"},
    {
        "candidates": [
            {
                "content": {"parts": [{"text": "two"}, {"functionCall": {"name": "add", "args": {"a": 1}}}]},
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 4,
            "candidatesTokenCount": 5,
            "thoughtsTokenCount": 2,
            "totalTokenCount": 11,
        },
    },
]
URL = "https://api.example/v1/x"


def exchanged(api: str, request: bytes, response: bytes, **more: Any) -> Exchanged:
    known: dict[str, Any] = {
        "number": 1,
        "address": "10.0.0.2",
        "api": api,
        "any_host": False,
        "url": URL,
        "method": "POST",
        "secrets": (),
        "started": 1000,
        "first_byte": 1010,
        "finished": 1050,
        "status": 200,
        "request": request,
        "request_encoding": "",
        "response": response,
        "response_encoding": "",
        "response_type": "text/event-stream",
        "truncated": False,
        "error": None,
        "ended": True,
        "final": True,
    }
    return Exchanged(**known | more)


def opened(number: int = 1, address: str = "10.0.0.2", url: str = URL, secrets: tuple[str, ...] = ()) -> SocketOpened:
    """A socket of the realtime API."""
    return SocketOpened(
        number, address, "openai-realtime", any_host=False, url=url, method="GET", secrets=secrets, started=1
    )


def recorded(api: str, response: str, request: object = None, **more: Any) -> dict[str, Any]:
    body = {"model": "asked", "messages": [], "input": "", "contents": []} if request is None else request
    found = call_record(exchanged(api, json.dumps(body).encode(), response.encode(), **more), iso(1000), 1 << 20)
    assert found is not None
    return found


def test_a_chat_stream() -> None:
    record = recorded("openai-chat", CHAT)
    answer = record["parsed_response"]
    assert answer["content"] == "Hello"
    assert [(call["id"], call["name"], call["arguments"]) for call in answer["tool_calls"]] == [
        ("call_a", "get_weather", '{"city": "Ulm"}'),
        ("call_b", "get_time", "{}"),
    ]
    assert answer["finish_reason"] == "tool_calls"
    assert answer["usage"]["input_tokens"] == 19
    assert (answer["usage"]["output_tokens"], answer["usage"]["total_tokens"]) == (10, 29)
    assert (record["incomplete"], record["duration_ms"], record["first_byte_ms"]) == (False, 50, 10)


def test_a_whole_chat_answer_with_reasoning() -> None:
    message = {"role": "assistant", "content": "Hello", "reasoning_content": "hm"}
    body = {"id": "c", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    record = recorded("openai-chat", json.dumps(body), response_type="application/json")
    assert record["parsed_response"]["content"] == "Hello"
    assert record["parsed_response"]["reasoning"] == "hm"
    assert record["incomplete"] is False


def test_an_anthropic_stream() -> None:
    answer = recorded("anthropic-messages", ANTHROPIC)["parsed_response"]
    assert answer["model"] == "claude-opus-4"
    assert (answer["reasoning"], answer["content"]) == ("Where is it?", "Let me check the weather.")
    assert [(call["name"], call["arguments"]) for call in answer["tool_calls"]] == [
        ("get_weather", '{"location": "Ulm"}'),
        ("now", "{}"),
    ]
    assert answer["usage"] == {"input_tokens": 472, "output_tokens": 89, "total_tokens": 561}


def test_a_responses_stream_and_one_that_was_cut() -> None:
    whole = recorded("openai-responses", RESPONSES + RESPONSES_END)
    cut = recorded("openai-responses", RESPONSES, ended=False, error="The connection broke.")
    for record in (whole, cut):
        assert record["parsed_response"]["content"] == "Hi"
        assert record["parsed_response"]["tool_calls"] == [{"id": "call_1", "name": "ls", "arguments": '{"path":"."}'}]
    assert (whole["incomplete"], whole["parsed_response"]["reasoning"]) == (False, "Short.")
    assert whole["parsed_response"]["usage"]["total_tokens"] == 48
    assert (cut["incomplete"], cut["error"]) == (True, "The connection broke.")


@pytest.mark.parametrize("form", ["array", "events"])
def test_a_google_stream(form: str) -> None:
    text = json.dumps(GOOGLE) if form == "array" else "".join(f"data: {json.dumps(part)}\r\n\r\n" for part in GOOGLE)
    kind = "application/json" if form == "array" else "text/event-stream"
    url = "https://generativelanguage.example/v1beta/models/gemini-2.5-flash:streamGenerateContent"
    record = recorded("google-generate", text, response_type=kind, url=url)
    answer = record["parsed_response"]
    assert record["model"] == "gemini-2.5-flash"
    assert (answer["content"], answer["reasoning"]) == ("One two", "Let me see. ")
    assert answer["tool_calls"] == [{"id": "", "name": "add", "arguments": '{"a": 1}'}]
    assert (answer["usage"]["output_tokens"], answer["usage"]["total_tokens"]) == (7, 11)
    assert record["incomplete"] is False


@pytest.mark.parametrize("api", ["openai-chat", "openai-responses", "anthropic-messages", "google-generate"])
@pytest.mark.parametrize("stream", [CHAT, ANTHROPIC, RESPONSES + RESPONSES_END, json.dumps(GOOGLE)])
def test_a_stream_may_end_anywhere_and_be_anything(api: str, stream: str) -> None:
    for length in range(0, len(stream), 7):
        record = recorded(api, stream[:length], ended=False)
        assert record["incomplete"] is True


ODD: list[Any] = [None, 1, "x", [], [1], [None], {}, {"choices": 3}, {"content": {"a": 1}}, {"output": [7, {}]}, True]


@pytest.mark.parametrize("api", ["openai-chat", "openai-responses", "openai-realtime", "anthropic-messages"])
def test_odd_json_is_taken_for_what_it_is(api: str) -> None:
    """Whatever comes, there is a record of the one shape that readers know."""
    names = ("model", "messages", "input", "tools", "system", "instructions", "contents", "choices", "usage", "output")
    more = ("type", "delta", "item", "response", "content_block", "message", "index", "error", "parts", "item_id")
    for name in (*names, *more):
        for value in ODD:
            _is_a_request(FORMATS[api].parse_request({name: value}, URL))
            odd = [{name: value, "content": value, "role": value, "tool_calls": value}]
            _is_a_request(FORMATS[api].parse_request({name: odd}, URL))
            answer = FORMATS[api].Parser()
            kinds = ("message_start", "content_block_start", "content_block_delta", "response.output_item.added")
            for kind in (*kinds, "response.completed", "response.output_text.delta", "error"):
                answer.feed({"type": kind, name: value})
            answer.feed({"choices": [{"index": 0, "delta": {"tool_calls": [value], "content": value}}]})
            answer.whole({name: value})
            _is_an_answer(answer.result())


@pytest.mark.parametrize("api", ["openai-chat", "openai-responses", "anthropic-messages", "google-generate"])
def test_a_type_that_is_no_text_is_no_type(api: str) -> None:
    for kind in ([], {}):
        items = [{"type": kind, "content": [{"type": kind}]}]
        _is_a_request(FORMATS[api].parse_request({"messages": items, "input": items, "contents": items}, URL))
        answer = FORMATS[api].Parser()
        answer.feed({"type": kind})
        answer.feed({"type": "content_block_start", "content_block": {"type": kind}})
        answer.feed({"type": "response.output_item.added", "item": {"type": kind}})
        answer.whole({"content": items, "output": items, "choices": items})
        _is_an_answer(answer.result())
    session = Session(opened(), iso)
    assert list(session.take(SocketMessage(1, "10.0.0.2", True, 5, b'{"type": []}'))) == []


def _is_a_request(parsed: dict[str, Any]) -> None:
    json.dumps(parsed)
    assert parsed.keys() == {"model", "system", "messages", "tools", "parameters", "usage"}
    assert isinstance(parsed["messages"], list)
    for message in parsed["messages"]:
        assert isinstance(message["role"], str), message
        assert isinstance(message["content"], str), message


def _is_an_answer(result: dict[str, Any]) -> None:
    json.dumps(result)
    assert isinstance(result["content"], str)
    assert isinstance(result["reasoning"], str)
    for call in result["tool_calls"]:
        assert {key: type(value) for key, value in call.items()} == {"id": str, "name": str, "arguments": str}, call


def test_requests_have_one_shape() -> None:
    chat = FORMATS["openai-chat"].parse_request(
        {
            "model": "gpt",
            "temperature": 0.5,
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {}}]},
                {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        },
        URL,
    )
    assert chat["messages"][0] == {"role": "user", "content": "look\n[image_url]"}
    assert chat["messages"][1] == {"role": "tool", "content": "sunny", "tool_call_id": "call_1"}
    assert (chat["tools"], chat["parameters"]) == (["f"], {"temperature": 0.5})
    claude = FORMATS["anthropic-messages"].parse_request(
        {
            "model": "c",
            "system": [{"type": "text", "text": "be kind"}],
            "messages": [
                {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "ls", "input": {"p": "."}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "a.py"}]},
            ],
        },
        URL,
    )
    assert claude["system"] == "be kind"
    assert claude["messages"] == [
        {"role": "assistant", "content": "", "tool_calls": [{"id": "t1", "name": "ls", "arguments": '{"p": "."}'}]},
        {"role": "tool", "content": "a.py", "tool_call_id": "t1"},
    ]


def test_another_request_under_such_a_path_is_no_conversation() -> None:
    survey = exchanged("openai-responses", b'{"answers": [1]}', b"{}", any_host=True)
    assert call_record(survey, iso(0), 1000) is None


def test_broken_bodies_are_kept_in_part() -> None:
    record = call_record(exchanged("openai-chat", b"{broken", b'{"choices": [{'), iso(0), 1000)
    assert record is not None
    assert (record["parsed_request"], record["raw_request"], record["raw_response"]) == (
        None,
        "{broken",
        '{"choices": [{',
    )
    assert record["incomplete"] is True


def test_events_are_read_as_the_standard_says() -> None:
    text = "\ufeffevent: a\r\ndata: 1\r\ndata:2\r\n\r\n:c\ndata\n\nid: 3\n\ndata: \u2028x\n\ndata: cut"
    assert list(events(text)) == [("a", "1\n2"), ("", ""), ("", "\u2028x")]


def test_values_up_to_where_they_break_off() -> None:
    assert json_values('[{"a": 1},\r\n{"a": 2}') == ([{"a": 1}, {"a": 2}], False)
    assert json_values('[{"a": 1}, {"b"') == ([{"a": 1}], False)
    assert json_values('[{"a": 1}]') == ([{"a": 1}], True)
    assert json_values("") == ([], True)


def test_a_session_over_a_socket_is_one_conversation_for_each_answer() -> None:
    times = iter(range(100))
    session = Session(
        opened(url="wss://x/v1/realtime?model=gpt-realtime"),
        lambda at: iso(next(times)),
    )

    def say(event: object, *, client: bool = False) -> list[dict[str, Any]]:
        return list(session.take(SocketMessage(1, "10.0.0.2", client, 5, json.dumps(event).encode())))

    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    assert say({"type": "conversation.item.create", "item": item}, client=True) == []
    assert say({"type": "response.create", "response": {"instructions": "be brief"}}, client=True) == []
    say({"type": "response.output_text.delta", "item_id": "i", "delta": "hel"})
    assert [record["parsed_response"]["content"] for record in session.unfinished(6, closed=False)] == ["hel"]
    assert list(session.unfinished(6, closed=False)) == []
    say({"type": "response.output_text.delta", "item_id": "i", "delta": "lo"})
    say([1, 2])
    (record,) = say({"type": "response.done", "response": {"status": "completed", "usage": {"input_tokens": 1}}})
    assert record["parsed_response"]["content"] == "hello"
    assert record["parsed_request"]["messages"] == [{"role": "user", "content": "hi"}]
    assert (record["model"], record["timestamp"]) == ("gpt-realtime", iso(0))
    say({"type": "response.create", "model": "gpt-5", "input": "again"}, client=True)
    (cut,) = session.unfinished(9, closed=True)
    assert [message["content"] for message in cut["parsed_request"]["messages"]] == ["hi", "hello", "again"]
    assert cut["incomplete"] is True
