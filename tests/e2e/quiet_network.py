"""A network for the browser in which nothing ever changes.

Chromium cancels what it loads whenever a network interface of its machine comes or goes, as those of containers do all
the time. In a separate namespace it sees none of them, so containers can be started beside it. The ports of the
installation are at the same addresses there: socat passes them on through sockets in a folder, which both sides see.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.waiting import eventually

NAME = "atelier-e2e"
# Of a range for documentation: with loopback alone Chromium tells pages that they are offline.
ADDRESS = "192.0.2.2/24"


@contextmanager
def quiet_network(ports: Iterable[int]) -> Iterator[Path]:
    """Yields a program that is Chromium in such a network, in which these ports of this machine can be reached."""
    subprocess.run(["ip", "netns", "delete", NAME], check=False, capture_output=True)  # of a session that was killed
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="atl-quiet-")))
        _ip("netns", "add", NAME)
        stack.callback(_ip, "netns", "delete", NAME)
        inside = ["ip", "netns", "exec", NAME]
        _ip("-n", NAME, "link", "set", "lo", "up")
        # A cable with both ends in here.
        _ip("-n", NAME, "link", "add", "online", "type", "veth", "peer", "name", "other")
        _ip("-n", NAME, "address", "add", ADDRESS, "dev", "online")
        for end in ("other", "online"):
            _ip("-n", NAME, "link", "set", end, "up")
        for port in ports:
            passage = folder / str(port)
            outside = [f"UNIX-LISTEN:{passage},fork", f"TCP:127.0.0.1:{port}"]
            stack.enter_context(_running("socat", *outside))
            eventually(passage.exists, f"socat listens for port {port}")
            within = [f"TCP-LISTEN:{port},bind=127.0.0.1,fork", f"UNIX-CONNECT:{passage}"]
            stack.enter_context(_running(*inside, "socat", *within))
            listening = [*inside, "ss", "-Hltn", f"sport = {port}"]
            eventually(lambda command=listening: subprocess.check_output(command), f"port {port} is open inside")
        program = folder / "chromium"
        program.write_text(f'#!/bin/sh\nexec {" ".join(inside)} /usr/bin/chromium "$@"\n')
        program.chmod(0o755)
        yield program


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@contextmanager
def _running(*command: str) -> Iterator[None]:
    """A process, ended afterwards with what it started for each connection."""
    process = subprocess.Popen(command, start_new_session=True)
    try:
        yield
    finally:
        subprocess.run(["pkill", "--session", str(process.pid)], check=False)
        process.wait()
