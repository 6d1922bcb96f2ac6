"""The engine adapter's requests to Docker, as a simulated Docker receives them."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from atelier.common.client_certificate import ClientCertificate
from atelier.common.errors import AtelierError, Code
from atelier.engine import client
from atelier.engine.client import Engine
from atelier.engine.models import ContainerStats, TarExtract, TooLarge
from atelier.engine.parsing import stats_from
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Docker(BaseHTTPRequestHandler):
    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Accept-Encoding")))
        body = json.dumps({"ApiVersion": "1.45"}).encode() if self.path.endswith("/version") else b"archive"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def docker() -> Iterator[tuple[Engine, list[tuple[str, str | None]]]]:
    asked: list[tuple[str, str | None]] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Docker,), {"asked": asked})) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Engine(f"tcp://127.0.0.1:{server.server_port}"), asked
        server.shutdown()


def test_archives_are_asked_for_as_they_are(docker: tuple[Engine, list[tuple[str, str | None]]]) -> None:
    """Docker would compress them, which takes ten times as long as reading them."""
    engine, asked = docker
    assert b"".join(engine.stream("seat", "/workspace", 5)) == b"archive"
    assert asked[-1] == ("/v1.45/containers/seat/archive?path=%2Fworkspace", "identity")


def test_a_name_that_is_no_text_is_asked_for_as_it_is(
    docker: tuple[Engine, list[tuple[str, str | None]]],
) -> None:
    """``tarfile`` gives such names with surrogates."""
    engine, asked = docker
    list(engine.stream("seat", b"/home/\xff\n".decode(errors="surrogateescape"), 5))
    assert asked[-1][0].endswith("/archive?path=%2Fhome%2F%FF%0A")


class Seat(Docker):
    """Answers for each path with a status, and a link's target or a reason."""

    paths: ClassVar = {
        "/file": (200, ""),
        "/link": (200, "/file"),
        "/chain": (200, "/link"),
        "/gone": (404, "no such file"),
        "/file/below": (400, "lstat: not a directory"),
        "/circle": (500, "lstat: too many links"),
        "/locked": (500, "lstat: permission denied"),
    }

    def do_GET(self) -> None:
        path = parse_qs(urlsplit(self.path).query).get("path")
        if path is None:
            super().do_GET()
            return
        status, said = self.paths[path[0]]
        body = b"archive" if status == 200 else json.dumps({"message": said}).encode()
        self.send_response(status)
        stat = json.dumps({"linkTarget": said}).encode()
        self.send_header("X-Docker-Container-Path-Stat", base64.b64encode(stat).decode())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_what_is_read_from_a_seat() -> None:
    handler = type("Handler", (Seat,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        engine = Engine(f"tcp://127.0.0.1:{server.server_port}")
        file = TarExtract(PurePosixPath("/file"), b"archive")
        assert engine.read("seat", "/file", 7) == engine.read("seat", "/link", 7) == file
        # Docker tells where a chain ends; what is not its end was changed meanwhile.
        nothing = [engine.read("seat", path, 7) for path in ("/chain", "/gone", "/file/below", "/circle")]
        assert [*nothing, engine.read("seat", "/link", 7, lambda _: False)] == [None] * 5
        with pytest.raises(AtelierError) as error:
            engine.read("seat", "/locked", 7)
        assert "could not read /locked in seat: lstat: permission denied" in error.value.message
        with pytest.raises(TooLarge):
            engine.read("seat", "/link", 6)
        server.shutdown()


class BusyDocker(Docker):
    """Cannot freeze a container the first ``refusals`` times."""

    refusals: int

    def do_POST(self) -> None:
        self.asked.append((self.path, None))
        refused = len(self.asked) <= self.refusals
        body = b'{"message": "OCI runtime pause failed: unable to freeze: unknown"}' if refused else b""
        self.send_response(500 if refused else 204)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.parametrize(("refusals", "is_paused"), [(8, True), (10_000, False)])
def test_a_machine_that_is_busy_needs_some_tries_to_freeze_a_container(
    monkeypatch: pytest.MonkeyPatch, refusals: int, is_paused: bool
) -> None:
    if not is_paused:
        monkeypatch.setattr(client, "_FREEZE_SECONDS", 0.3)
    asked: list[tuple[str, str | None]] = []
    handler = type("Handler", (BusyDocker,), {"asked": [], "refusals": refusals})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        engine = Engine(f"tcp://127.0.0.1:{server.server_port}")
        handler.asked = asked  # type: ignore[attr-defined]
        if is_paused:
            engine.pause("seat")
            assert len(asked) == refusals + 1
        else:
            with pytest.raises(AtelierError):
                engine.pause("seat")
        server.shutdown()


class OtherRemoves(Docker):
    """Refuses ``refusals`` times to remove a container, because somebody else's removal of it has not ended."""

    refusals: int

    def do_DELETE(self) -> None:
        self.asked.append((self.path, None))
        refused = len(self.asked) <= self.refusals
        said = "removal of container seat is already in progress" if refused else "No such container: seat"
        body = json.dumps({"message": said}).encode()
        self.send_response(409 if refused else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.parametrize(("refusals", "patience", "is_removed"), [(3, 900, True), (10_000, 1, False)])
def test_a_container_that_another_run_removes_is_waited_for(refusals: int, patience: int, is_removed: bool) -> None:
    """Runs side by side remove the same containers that resets kept long enough."""
    handler = type("Handler", (OtherRemoves,), {"asked": [], "refusals": refusals})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        engine = Engine(f"tcp://127.0.0.1:{server.server_port}", patience=patience)
        handler.asked = asked = []  # type: ignore[attr-defined]
        if is_removed:
            engine.remove("seat")
            assert len(asked) == refusals + 1
        else:
            with pytest.raises(AtelierError, match="already in progress"):
                engine.remove("seat")
        server.shutdown()


class RemovingDocker(Docker):
    """Docker 26.1 while it removes an image: seen some 4 times in 13,000 requests for images being removed."""

    def do_GET(self) -> None:
        if self.path.endswith("/version"):
            super().do_GET()
            return
        gone = "gone" in self.path
        body = json.dumps({"message": "No such image: gone" if gone else "layer does not exist"}).encode()
        self.send_response(404 if gone else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_DELETE(self) -> None:
        body = b'{"message": "unrecognized image ID sha256:1"}'
        self.send_response(500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.parametrize("image", ["gone", "vanishing"])
def test_an_image_that_is_being_removed_does_not_exist(image: str) -> None:
    """Seats of one workshop share images, and are removed side by side."""
    handler = type("Handler", (RemovingDocker,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        engine = Engine(f"tcp://127.0.0.1:{server.server_port}")
        assert engine.image(image) is None
        assert engine.layer_size(image) == 0
        # What Docker 20.10 says to the second of two that remove an image.
        assert not engine.remove_image(image)
        server.shutdown()


class HangingDocker(Docker):
    """Says its version, if it is asked for that and ``greets``, and then nothing more, as one whose machine answers."""

    greets: bool
    ended: threading.Event

    def do_GET(self) -> None:
        if self.greets and self.path.endswith("/version"):
            super().do_GET()
        else:
            self.ended.wait(30)


@pytest.fixture
def certificate(tmp_path: Path) -> ClientCertificate:
    """One for both sides, which is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alpha")])
    moment = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - datetime.timedelta(days=1))
        .not_valid_after(moment + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem, private = tmp_path / "one.pem", tmp_path / "one.key"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    no_password = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, no_password))
    return ClientCertificate(pem, pem, private)


@pytest.mark.parametrize("greets", [True, False])
def test_a_node_s_docker_that_hangs_keeps_nobody_waiting_for_long(
    certificate: ClientCertificate, monkeypatch: pytest.MonkeyPatch, greets: bool
) -> None:
    monkeypatch.setattr(client, "_GREETING_SECONDS", 0.5)
    monkeypatch.setattr(client, "_QUICK_SECONDS", 0.5)
    ended = threading.Event()
    handler = type("Handler", (HangingDocker,), {"asked": [], "greets": greets, "ended": ended})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate.certificate, certificate.key)
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        begun = time.monotonic()
        with pytest.raises(AtelierError) as error:
            Engine(f"https://127.0.0.1:{server.server_port}", node="alpha", certificate=certificate).inspect("x")
        assert time.monotonic() - begun < 10
        ended.set()
        server.shutdown()
    if greets:
        assert (error.value.code, error.value.details["limit"]) == (Code.ENGINE_ERROR, "seconds")
    else:
        assert error.value.code is Code.NODE_UNAVAILABLE
        assert "alpha does not answer" in str(error.value)


def test_stats_of_both_versions_of_control_groups() -> None:
    operations = [{"op": "Read", "value": 5}, {"op": "Write", "value": 7}, {"op": "write", "value": 1}]
    first = {
        "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}},
        "memory_stats": {
            "usage": 100,
            "stats": {"total_inactive_file": 40, "total_dirty": 1, "total_writeback": 2, "dirty": 9},
        },
        "blkio_stats": {"io_service_bytes_recursive": operations},
    }
    second = {
        "cpu_stats": {"cpu_usage": {"total_usage": 0}},
        "memory_stats": {"usage": 50, "stats": {"inactive_file": 60, "file_dirty": 3, "file_writeback": 4}},
        "blkio_stats": {"io_service_bytes_recursive": None},
    }
    assert stats_from(first) == ContainerStats(2.5, 60, 3, 8)
    assert stats_from(second) == ContainerStats(0.0, 0, 7, 0)
    assert stats_from({"name": "", "id": ""}) is None
