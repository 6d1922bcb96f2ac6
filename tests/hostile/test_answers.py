"""Hostile programs in place of a seat's IDE, while the platform queries it."""

from __future__ import annotations

import time

from tests.waiting import eventually

from .conftest import ADMIN_PASSWORD, GROUP, PATIENCE, Platform, Seats

ADMIN = {"X-Admin-Password": ADMIN_PASSWORD}
AT_ONCE = 10.0

# Ends the IDE again and again until its port is free, and serves it.
_IN_PLACE = """
import os, signal, socket, threading, time
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
while True:
    try:
        server.bind(("", 8082))
        break
    except OSError:
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if b"workspace-ide.js" in open(f"/proc/{pid}/cmdline", "rb").read():
                    os.kill(int(pid), signal.SIGKILL)
            except OSError:
                pass
server.listen(100)
open("/tmp/serves", "w").close()
def answer(connection):
    try:
        connection.recv(65536)
        SAY
        connection.close()
    except OSError:
        pass
while True:
    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()
"""
_HEAD = r"HTTP/1.1 200 OK\r\n\r\n"
ANSWERS = {
    "dripping": rf"connection.sendall(b'{_HEAD}'); [(connection.sendall(b' '), time.sleep(1)) for _ in range(3600)]",
    "brackets": rf"connection.sendall(b'{_HEAD}' + b'[' * 60000)",
    "without end": r"[connection.sendall(b'x: ' + b'y' * 65536 + b'\r\n') for _ in range(10**9)]",
    "another time": rf"connection.sendall(b'{_HEAD}' + b'{{\"lastHeartbeat\": 1' + b'0' * 4000 + b'}}')",
    "silent": "time.sleep(3600)",
}


def test_one_seat_s_answer_is_no_other_s_business(platform: Platform, seat: Seats) -> None:
    honest, *others = seat.several(1 + len(ANSWERS), group=GROUP)
    strangers = dict(zip(ANSWERS, others, strict=True))
    for name, stranger in strangers.items():
        script = _IN_PLACE.replace("SAY", ANSWERS[name])
        stranger.run(f"cat >/tmp/serve.py <<'END'\n{script}\nEND")
        stranger.leave_running("exec python3 /tmp/serve.py")
    for name, stranger in strangers.items():
        eventually(lambda seat=stranger: seat.try_run("test -e /tmp/serves").returncode == 0, name, PATIENCE)  # type: ignore[misc]
    for _ in range(3):
        begin = time.monotonic()
        answer = platform.api.get("/api/workshop/seats", headers=ADMIN, timeout=60)
        assert answer.status_code == 200, answer.text
        assert time.monotonic() - begin < AT_ONCE
        seats = {entry["projectId"]: entry for entry in answer.json()["seats"]}
        assert [seats[stranger.id]["lastHeartbeat"] for stranger in strangers.values()] == [None] * len(strangers)
        assert seats[honest.id]["status"] == "running"
        time.sleep(1)
