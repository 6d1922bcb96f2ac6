"""The recorder's figures: what it adds to a stream's first byte, its memory, and a list of a thousand conversations.

The recorder runs as a separate process on an address of this machine, with the settings that the role writes, beside
any installation. ``python`` is an interpreter with the packages of roles/recorder/files/requirements.txt.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from atelier.recordings.folders import Recorded
from atelier.recordings.store import conversations

from .report import Report, p95

_PROJECT = Path(__file__).parents[1]
_ADDRESS = "127.0.77.3"
_PORT = 18088
_WORKSPACE = "0123456789ab"
_PATH = "/v1/chat/completions"
_BODY = json.dumps({"model": "bench", "stream": True, "messages": [{"role": "user", "content": "word " * 200}]})


@dataclass(frozen=True)
class Running:
    """A recorder and the server behind it. ``upstream``: host and port of the server, ``authority``: whom to trust."""

    process: subprocess.Popen[bytes]
    upstream: tuple[str, int]
    state_dir: Path
    direct_authority: Path
    authority: Path

    def memory_mib(self) -> float:
        """Resident memory of the proxy and its writer."""
        proxy = psutil.Process(self.process.pid)
        return sum(process.memory_info().rss for process in (proxy, *proxy.children())) / 1024**2


@dataclass(frozen=True)
class Streams:
    """First bytes of the same streams straight from the server and through the recorder, in milliseconds."""

    direct_p50: float
    recorded_p50: float
    direct_p95: float
    recorded_p95: float

    @property
    def added_p50(self) -> float:
        return self.recorded_p50 - self.direct_p50


def measure_recorder(report: Report) -> None:
    """Adds the figures, with a recorder in a separate environment, made for them."""
    with tempfile.TemporaryDirectory(prefix="bench-mitmproxy.") as folder:
        venv.create(folder, with_pip=True)
        requirements = _PROJECT / "roles/recorder/files/requirements.txt"
        subprocess.run([f"{folder}/bin/pip", "install", "--quiet", "--requirement", str(requirements)], check=True)
        with recorder(f"{folder}/bin/python") as running:
            streams = streams_first_byte(running)
            added, memory = streams.added_p50, memory_after(running)
            listed = list_milliseconds(running)
    what = "recorder: first byte of 100 streams at once, p50"
    shown = f"{streams.recorded_p50:.1f} ms", f"{streams.direct_p50:.1f} ms"
    report.add(what, *shown, "at most 30 ms more", added <= 30)
    report.add("recorder: memory after 1,000 conversations", f"{memory:.0f} MiB", "-", "under 200 MiB", memory < 200)
    report.add("list of 1,000 conversations, 100 of them", f"{listed:.1f} ms", "-", "under 50 ms", listed < 50)


@contextmanager
def recorder(python: str) -> Iterator[Running]:
    """Runs a recorder and a server of LLM streams. Both end, and their files go, with the block."""
    with tempfile.TemporaryDirectory(prefix="bench-recorder.") as name:
        state = Path(name)
        for folder in ("egress", "recordings", "ca"):
            (state / folder).mkdir()
        server = _start_upstream(state)
        _make_authority(state)
        (state / "egress/workspaces.json").write_text(json.dumps({"127.0.0.1": {"id": _WORKSPACE, "group": None}}))
        (state / "settings.json").write_text(json.dumps(settings_document(state)))
        process = subprocess.Popen(
            [python, "-m", "atelier_recorder", str(state / "settings.json")],
            env={"PYTHONPATH": str(_PROJECT / "roles/recorder/files"), "PATH": os.environ["PATH"]},
        )
        try:
            _await_port(_ADDRESS, _PORT, process)
            authorities = state / "upstream/ca.pem", state / "ca/ca.crt"
            yield Running(process, ("127.0.77.1", server.port), state, *authorities)
        finally:
            process.terminate()
            process.wait(20)
            server.shutdown()
            server.server_close()


def streams_first_byte(running: Running, count: int = 100, *, over_seconds: float = 3, rounds: int = 3) -> Streams:
    """``count`` streams that are open at once, begun evenly over some seconds, each on a connection that is there
    already, as a program's second call is. Each lasts 3.5 s, so with up to 3 all of them overlap. 0 begins them in the
    same moment: that measures how fast the CPU works off a burst more than what a seat waits for."""
    direct: list[float] = []
    recorded: list[float] = []
    for _ in range(rounds):
        direct += _first_bytes(running, count, over_seconds, through=False)
        recorded += _first_bytes(running, count, over_seconds, through=True)
    return Streams(statistics.median(direct), statistics.median(recorded), p95(direct), p95(recorded))


def memory_after(running: Running, count: int = 1000) -> float:
    """MiB that the recorder takes after so many conversations were recorded."""

    def record(number: int) -> None:
        connection = _connect(running, through=True)
        connection.request("POST", _PATH, _BODY, {"Content-Type": "application/json"})
        connection.getresponse().read()
        connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(record, range(count)))
    deadline = time.monotonic() + 60
    recorded = Recorded.here(running.state_dir, _WORKSPACE)
    while conversations(recorded, limit=1).total < count and time.monotonic() < deadline:
        time.sleep(0.2)
    return running.memory_mib()


def list_milliseconds(running: Running, limit: int = 100, rounds: int = 5) -> float:
    """The median time of reading a page of what was recorded; call ``memory_after`` before."""
    took = []
    for _ in range(rounds):
        begin = time.perf_counter()
        conversations(Recorded.here(running.state_dir, _WORKSPACE), limit=limit)
        took.append((time.perf_counter() - begin) * 1000)
    return statistics.median(took)


def _first_bytes(running: Running, count: int, over_seconds: float, *, through: bool) -> list[float]:
    connections = []
    for _ in range(count):
        connection = _connect(running, through=through)
        connection.request("GET", "/ready")
        connection.getresponse().read()
        connections.append(connection)
    start = time.monotonic() + 0.3
    results: list[float] = []

    def stream(number: int) -> None:
        time.sleep(max(start + over_seconds * number / count - time.monotonic(), 0))
        begin = time.perf_counter()
        connections[number].request("POST", f"/slow{_PATH}", _BODY, {"Content-Type": "application/json"})
        answer = connections[number].getresponse()
        answer.read1(1)
        results.append((time.perf_counter() - begin) * 1000)
        answer.read()

    threads = [threading.Thread(target=stream, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for connection in connections:
        connection.close()
    assert len(results) == count, "not every stream was answered"
    return results


def _connect(running: Running, *, through: bool) -> http.client.HTTPSConnection:
    trusted = running.authority if through else running.direct_authority
    context = ssl.create_default_context(cafile=str(trusted))
    target = (_ADDRESS, _PORT) if through else running.upstream
    connection = http.client.HTTPSConnection(*target, context=context, timeout=60)
    if through:
        # mitmproxy makes certificates for names; an address is compared with them, too.
        connection.set_tunnel(*running.upstream)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def settings_document(state: Path) -> dict[str, Any]:
    """The recorder's settings file, as the role would write it."""
    return {
        "listen_host": _ADDRESS,
        "listen_port": _PORT,
        "client_network": "127.0.0.0/24",
        "refused_networks": [],
        "allowed_networks": ["127.0.77.1/32"],
        "providers": [{"api": "openai-chat", "host": "*", "path": "*/chat/completions"}],
        "workspaces_file": str(state / "egress/workspaces.json"),
        "recordings_dir": str(state / "recordings"),
        "ca_file": str(state / "ca/ca.pem"),
        "upstream_ca": str(state / "upstream/ca.pem"),
        "retention_days": 30,
        "max_conversations": 5000,
        "max_conversation_bytes": 4 * 1024**2,
        "max_workspace_bytes": 512 * 1024**2,
        "buffer_bytes": 64 * 1024**2,
        "max_connections": 256,
    }


def _start_upstream(state: Path) -> Any:
    # The one that the recorder's Molecule scenario has.
    sys.path.insert(0, str(_PROJECT / "molecule/recorder"))
    from upstream import Upstream

    return Upstream("127.0.77.1", ["127.0.77.1"], state / "upstream")


def _make_authority(state: Path) -> None:
    """Makes an authority like the role's: an elliptic curve's key and a certificate that signs."""
    openssl = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    files = ["-keyout", str(state / "ca/ca.key"), "-out", str(state / "ca/ca.crt"), "-subj", "/CN=bench recorder"]
    usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    subprocess.run([*openssl, *files, *usage], check=True, capture_output=True)
    (state / "ca/ca.pem").write_text((state / "ca/ca.key").read_text() + (state / "ca/ca.crt").read_text())


def _await_port(host: str, port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, "the recorder ended"
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nothing listens on {host}:{port}")


if __name__ == "__main__":
    with recorder(sys.argv[1]) as found:
        for seconds in (3.0, 0.0):
            print(seconds, streams_first_byte(found, over_seconds=seconds), flush=True)
        print("memory", memory_after(found), "MiB, list", list_milliseconds(found), "ms")
