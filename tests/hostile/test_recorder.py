"""Hostile recorded seats: none delays another's recording, or makes recordings unreadable."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from shlex import quote
from typing import Any

import pytest

from tests.waiting import eventually

from .conftest import MODELS, Platform, Seat, Seats

PORT = 18077
CHAT = f"http://{MODELS}:{PORT}/v1/chat/completions"
# Python for values as they are written in the body.
ODD = (
    "'1' + 25 * '0'",
    "255 * '[' + 255 * ']'",
    "'NaN'",
    "chr(34) + chr(92) + 'ud800' + chr(34)",
    "'{' + ','.join(chr(34) + str(n) + chr(34) + ':0' for n in range(300000)) + '}'",
)


MANY = """
import os, socket, time, urllib.parse
proxy, opened = urllib.parse.urlsplit(os.environ["http_proxy"]), []
for _ in range(400):
    opened.append(socket.create_connection((proxy.hostname, proxy.port)))
    try:
        opened[-1].sendall(b"GET ")
    except OSError:
        pass
def lives(each):
    try:
        return bool(each.recv(1))
    except BlockingIOError:
        return True
    except OSError:
        return False
for each in opened:
    each.setblocking(False)
# Again while more live than may: a proxy that is busy closes the others later.
for _ in range(20):
    time.sleep(5)
    living = sum(map(lives, opened))
    if living <= 257:
        break
print(living)
"""


class _Model(BaseHTTPRequestHandler):
    """Takes anything, and answers as a model would."""

    def do_POST(self) -> None:
        left = int(self.headers.get("Content-Length", 0))
        while left > 0:
            left -= len(self.rfile.read(min(left, 65536)))
        body = b'{"id": "1", "model": "m", "choices": [{"message": {"role": "assistant", "content": "hi"}}]}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module", autouse=True)
def model() -> Iterator[None]:
    # Also where a killed run left it.
    subprocess.run(["ip", "address", "replace", f"{MODELS}/32", "dev", "lo"], check=True)
    try:
        with ThreadingHTTPServer((MODELS, PORT), _Model) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield
            server.shutdown()
    finally:
        subprocess.run(["ip", "address", "delete", f"{MODELS}/32", "dev", "lo"], check=True)


def ask(seat: Seat, script: str) -> None:
    """The body that the Python script prints is sent to the model by the seat."""
    sent = seat.run(
        f"python3 -c {quote(script)} | curl -s -m 60 -o /dev/null -w '%{{http_code}}'"
        f" -H 'Content-Type: application/json' --data-binary @- {CHAT}"
    )
    assert sent == "200"


def recorded(platform: Platform, seat: Seat) -> list[dict[str, Any]]:
    answer = platform.api.get(f"/api/projects/{seat.id}/llm-conversations")
    assert answer.status_code == 200, answer.text[:500]
    found: list[dict[str, Any]] = answer.json()["conversations"]
    return found


def test_odd_bodies_do_not_make_recordings_unreadable(platform: Platform, seat: Seats) -> None:
    stranger = seat(proxyMode="logging")
    for value in ODD:
        ask(stranger, f'print(\'{{"model": "m", "messages": [], "seed": \' + {value} + \'}}\')')
    eventually(lambda: len(recorded(platform, stranger)) == len(ODD), "all are recorded")


def test_one_seat_does_not_hold_up_the_recording_of_another(platform: Platform, seat: Seats) -> None:
    stranger, other = seat.several(2, proxyMode="logging")
    script = "import json; print(json.dumps(dict(model='m', messages=[dict(role='user', content='eyJ-' * 900000)])))"
    for _ in range(5):
        ask(stranger, script)
    ask(other, "import json; print(json.dumps(dict(model='m', messages=[dict(role='user', content='canary')])))")
    eventually(lambda: recorded(platform, other), "the other seat's recording", 30)


def test_one_seat_leaves_connections_for_the_others(platform: Platform, seat: Seats) -> None:
    """At recorder and Squid: further connections of one seat are closed."""
    for mode in ("logging", "security"):
        stranger = seat(proxyMode=mode)
        opened = int(stranger.run(f"python3 - <<'END'\n{MANY}\nEND"))
        assert 200 < opened <= 257, (mode, opened)  # Squid counts to one more
