"""The recorder with bodies made to delay it, or to make its recordings unreadable."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from atelier.recordings.folders import Recorded
from atelier.recordings.plain_json import MOST_LEVELS, MOST_VALUES, TOO_DEEP, TOO_MANY, plain
from atelier.recordings.report import document
from atelier.recordings.store import conversations
from atelier_recorder.body_buffer import Budget, Tee
from atelier_recorder.messages import DomainSeen, SocketClosed, SocketMessage
from atelier_recorder.proxy.lookups import LOOKUPS, Lookups
from atelier_recorder.proxy.pipe import Pipe
from atelier_recorder.redact import redact as redact_values
from atelier_recorder.redact import redact_json_text, redact_text, redact_url, secrets_of
from atelier_recorder.writer import deadline, process
from atelier_recorder.writer.deadline import TooSlow, limited
from atelier_recorder.writer.records import call_record
from atelier_recorder.writer.sessions import Session
from atelier_recorder.writer.turns import BYTES_EACH, MOST_EACH, Turns
from support import row
from test_recorder_formats import exchanged, opened

from tests.waiting import reached, still_waits

ID = "0123456789ab"
MIB = 1024**2
# Each repeats what a pattern begins with and never ends, or ends at the last moment.
PIECES = [
    "eyJ-",
    "eyJaaaaaaaa.",
    "eyJaaaaaaaa.bbbbbbbb.",
    "sk-",
    "sk-aaaaaaa ",
    "ghp_",
    "xoxb-",
    "hf_hf-",
    "AKIA",
    "Bearer ",
    "Bearer a",
    "://",
    "://a:",
    "://" + "a" * 99 + ":",
    "://" + "a" * 99 + ":" + "b" * 199,
    "-----BEGIN ",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY----------END " + "A" * 30,
    "-",
    "a",
    " ",
    "\\",
    '"',
    '\\"',
    '"a',
    '"a"',
    '"a":',
    '"a" ',
    '"a"' + " " * 19,
    '"' + "a" * 79,
    '"password":"',
    '"password":"\\\\',
    "api-",
    "a.b-c_",
]


@pytest.mark.parametrize("piece", PIECES)
def test_the_time_is_in_proportion_to_the_text(piece: str) -> None:
    def seconds(size: int) -> float:
        text = (piece * (size // len(piece) + 1))[:size]
        began = time.process_time()
        redact_json_text(text, ["a-secret-of-somebody"])
        redact_url(f"https://h/{text[:65536]}?{text}={text[:100]}")
        secrets_of([("cookie", text)], f"https://h/?{text}")
        redact_values({text: {text[:200]: text}})
        return time.process_time() - began

    assert seconds(MIB // 4) < 2  # 64 times as long where it is the square


def test_one_message_of_four_mib_takes_less_than_two_seconds() -> None:
    body = json.dumps({"model": "x", "messages": [{"role": "user", "content": "eyJ-" * MIB}]}).encode()[: 4 * MIB]
    began = time.process_time()
    call_record(exchanged("openai-chat", body[:-4] + b'"}]}', b"{}"), "2026-01-01T00:00:00.000Z", 4 * MIB)
    assert time.process_time() - began < 2


def test_many_secrets_and_many_texts() -> None:
    cookie = "; ".join(f"name{number}=value-{number:08}" for number in range(20_000))
    secrets = secrets_of([("authorization", "Bearer a-real-secret"), ("cookie", cookie)])
    assert len(secrets) <= 100 and "a-real-secret" in secrets
    texts = [f"value-{number:08}" for number in range(150_000)]
    began = time.process_time()
    redact_values(texts, secrets)
    assert time.process_time() - began < 4


def test_what_takes_too_long_is_given_up(
    writer: process.Writer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also in the middle of a regular expression; the call is recorded without its content."""
    import re

    began = time.process_time()
    monkeypatch.setattr(deadline, "SECONDS", 0.2)
    with pytest.raises(TooSlow), limited():
        re.match("(a|a)*b", "a" * 40)
    assert time.process_time() - began < 2

    def endless(*_: Any) -> Any:
        while True:
            redact_text("a" * 1000)

    monkeypatch.setattr(process, "call_record", endless)
    writer.take(exchanged("openai-chat", b'{"model": "m", "messages": []}', b"{}"))
    (found,) = conversations(Recorded.here(tmp_path, ID)).conversations
    assert "too long" in found["error"]


def deep(levels: int) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = [value]
    return value


ODD: list[Any] = [
    10**25,
    -(10**25),
    2**64,
    float("nan"),
    float("inf"),
    "\ud800",
    {"\udfff": 1},
    {"k" * 10_000: 1},
    deep(255),
    deep(900),
    {str(number): number for number in range(MOST_VALUES + 10)},
    [0] * (MOST_VALUES + 10),
    {"a": {"b": [1, 2.5, None, True, "text \u00e9"]}},
]


def test_what_is_plain_is_read_by_every_reader() -> None:
    for value in ODD:
        read = orjson.loads(orjson.dumps(plain(value)))
        assert plain(read) == read
        json.dumps(read, allow_nan=False).encode()
    assert plain(ODD[-1]) == ODD[-1]
    assert plain(10**25) == str(10**25)
    assert TOO_DEEP in json.dumps(plain(deep(MOST_LEVELS + 5)))
    assert plain([0] * (MOST_VALUES + 10))[-1] == TOO_MANY


def test_odd_bodies_are_recorded_and_read(writer: process.Writer, tmp_path: Path) -> None:
    for value in ODD:
        try:
            body = json.dumps({"model": "m", "messages": [], "seed": value, "tools": value}).encode()
        except RecursionError:
            body = b'{"model": "m", "messages": [], "seed": ' + b"[" * 900 + b"]" * 900 + b"}"
        answer = json.dumps({"id": "i", "usage": {"prompt_tokens": 2**63 - 1, "x": 10**30}, "choices": [{}]}).encode()
        writer.take(exchanged("openai-chat", body, answer))
    found = conversations(Recorded.here(tmp_path, ID), limit=1000)
    assert found.total == len(ODD)
    orjson.dumps(found.conversations)


def test_what_was_recorded_before_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "recordings" / ID / "conversations"
    folder.mkdir(parents=True)
    bodies = ["[" * 255 + "]" * 255, "10" * 20, "NaN", "-Infinity", '"\\ud800"', '{"a":' * 300 + "1" + "}" * 300]
    for number, body in enumerate(bodies):
        text = body if isinstance(body, str) else json.dumps(body)
        text = (
            f'{{"timestamp": "t", "model": "m", "parsed_request": {{"messages": [], "parameters": {{"x": {text}}}}}}}'
        )
        (folder / f"2026-01-01T00-00-0{number}.000Z.json").write_text(text)
    found = conversations(Recorded.here(tmp_path, ID))
    assert len(found.conversations) == len(bodies)
    orjson.dumps(found.conversations)
    assert document(Recorded.here(tmp_path, ID), row(), "detailed")["conversation_count"] == len(bodies)


def test_a_flood_loses_its_own_messages_only() -> None:
    turns = Turns()
    flood = sum(turns.add(DomainSeen("10.0.0.2", f"h{number}.example", 1)) for number in range(MOST_EACH + 100))
    assert flood == MOST_EACH
    assert turns.add(DomainSeen("10.0.0.3", "other.example", 1))
    taken = []
    for _ in range(3):
        message = turns.take()
        taken.append(message.address)
        turns.charge(message, 1.0)
    assert "10.0.0.3" in taken
    # Bodies: one seat has its share, and no more than that.
    big = [turns.add(exchanged("openai-chat", b"x" * 4 * MIB, b"", address="10.0.0.4")) for _ in range(10)]
    assert 0 < sum(big) < 10
    assert turns.add(exchanged("openai-chat", b"x" * MIB, b"", address="10.0.0.5"))


def test_long_addresses_and_credentials_count_as_what_they_take() -> None:
    """Bodies may be empty: a request's head is a stranger's, too, and may have 256 KiB."""
    secrets = ("s" * 200_000,)
    url = "wss://x/v1/realtime?" + "q" * 50_000
    empty = replace(exchanged("openai-chat", b"", b"", address="10.0.0.2"), secrets=secrets, url=url)
    socket = opened(1, "10.0.0.3", url, secrets)
    for message in (empty, socket):
        turns = Turns()
        assert sum(turns.add(message) for _ in range(500)) * 250_000 <= BYTES_EACH
    budget = Budget(4 * MIB)
    pipe = Pipe(Path("/nonexistent"), budget, list)
    for _ in range(500):
        pipe.send(socket)
    assert pipe._queue.qsize() * 250_000 <= 4 * MIB
    # What waits for the writer is a seat's share, too: the others' bodies are not cut off.
    assert Tee(MIB, budget, "10.0.0.4").hold(MIB)
    # A call's are held as long as its bodies are.
    budget = Budget(1000)
    call = Tee(1000, budget, "a")
    assert call.hold(200) and not call.hold(100)
    assert not Tee(1000, budget, "a").hold(100)
    call.release()
    assert Tee(1000, budget, "a").hold(250)


def test_who_is_slow_waits_for_the_others() -> None:
    turns = Turns()
    for number in range(20):
        for address in ("slow", "quick"):
            turns.add(DomainSeen(address, f"h{number}.example", 1))
    order = []
    while turns:
        message = turns.take()
        order.append(message.address)
        turns.charge(message, 5.0 if message.address == "slow" else 0.01)
    assert order.index("slow") < 2 and order[2:20].count("slow") <= 1


def test_a_socket_s_end_is_never_lost_and_its_lost_beginning_is_all_of_it() -> None:
    turns = Turns()
    assert not turns.add(SocketMessage(7, "10.0.0.2", True, 1, b"{}"))
    turns.add(opened(8))
    for _ in range(MOST_EACH):
        turns.add(SocketMessage(8, "10.0.0.2", True, 1, b"{}"))
    assert not turns.add(SocketMessage(8, "10.0.0.2", True, 1, b"{}"))
    assert turns.add(SocketClosed(8, "10.0.0.2", 2))


def test_one_seat_has_a_quarter_of_the_memory_for_bodies() -> None:
    budget = Budget(100)
    first, second = Tee(1000, budget, "a"), Tee(1000, budget, "b")
    first.add(b"x" * 25)
    first.add(b"x")
    assert first.truncated
    second.add(b"x" * 25)
    assert not second.truncated
    first.release()
    assert budget.take(25, "a")


def test_a_session_s_settings_and_answers_are_bounded() -> None:
    session = Session(opened(), str)

    def say(event: object, *, client: bool = True) -> list[dict[str, Any]]:
        return list(session.take(SocketMessage(1, "10.0.0.2", client, 5, json.dumps(event).encode())))

    for number in range(50):
        say({"type": "session.update", "session": {f"made-up-{number}": "x" * 10_000, "voice": "v" * MIB}})
    assert len(str(session._settings)) < 1000
    say({"type": "response.create"})
    for _ in range(30):
        say({"type": "response.output_text.delta", "item_id": "i", "delta": "y" * MIB}, client=False)
    (record,) = say({"type": "response.done", "response": {"status": "completed"}}, client=False)
    assert record["truncated"] is True
    assert len(json.dumps(record)) < 5 * MIB


def test_name_servers_that_do_not_answer_hold_up_one_seat_only() -> None:
    async def attack() -> None:
        lookups, never, waiting = Lookups(), asyncio.Event(), 0

        async def look_up(owner: str) -> None:
            nonlocal waiting
            async with lookups.of(owner):
                waiting += 1
                await never.wait()

        tasks = [asyncio.create_task(look_up("10.0.0.2")) for _ in range(LOOKUPS)]
        await reached(lambda: waiting, "the first ones")
        assert await still_waits(tasks[-1])
        assert waiting < LOOKUPS / 10  # the threads that are left are everybody else's
        async with asyncio.timeout(5), lookups.of("10.0.0.3"):
            pass
        never.set()
        await asyncio.gather(*tasks)
        assert not lookups._seats

    asyncio.run(attack())
