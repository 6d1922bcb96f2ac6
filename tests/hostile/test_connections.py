"""A seat that holds as many connections as it can takes the gateway from nobody."""

from __future__ import annotations

import time

from tests.waiting import eventually

from .conftest import PORT, Platform, Seat, Seats

# Two answers on a loaded machine; a gateway that is full gives none.
AT_ONCE = 10.0
_HOARD = """
import os, socket, sys, time
held = []
for _ in range(3):
    os.fork()
while True:
    while len(held) < 1000:
        try:
            one = socket.create_connection(("%s", %d), 2)
            one.sendall(b"GET /healthz HTTP/1.1\\r\\nHost: %s\\r\\n\\r\\n")
            held.append(one)
        except OSError:
            time.sleep(0.05)
            break
    open("/tmp/held", "a").write(".")
    time.sleep(0.2)
    held = [one for one in held if one.fileno() >= 0][-1000:]
"""


def test_8000_connections_of_a_seat(platform: Platform, seat: Seats, bystander: Seat) -> None:
    hoarder = seat()
    bridge = hoarder.address.rsplit(".", 2)[0] + ".0.1"
    script = _HOARD % (bridge, PORT, hoarder.host)
    hoarder.run(f"cat >/tmp/hoard.py <<'END'\n{script}\nEND")
    hoarder.leave_running("ulimit -n 16384; exec python3 /tmp/hoard.py")
    eventually(lambda: hoarder.try_run("[ $(wc -c </tmp/held) -gt 40 ]").returncode == 0, "connections are held")
    for _ in range(20):
        begin = time.monotonic()
        assert platform.api.get("/api/health").status_code == 200
        assert platform.visit(bystander.host, "/healthz").status_code == 200
        assert time.monotonic() - begin < AT_ONCE
    asked = f"curl -s -o /dev/null -m 10 -w '%{{http_code}}' -H 'Host: {bystander.host}' http://{bridge}:{PORT}/healthz"
    assert bystander.run(asked) == "200"
