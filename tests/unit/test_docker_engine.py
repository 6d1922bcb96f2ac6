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
from pathlib import Path, PurePosixPath
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.engine import client
from atelier.engine.client import Engine
from atelier.engine.connections import ClientCertificate
from atelier.engine.models import ContainerStats, TarExtract, TooLarge
from atelier.engine.parsing import stats_from
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from docker_server import Handler, docker_server


class Docker(Handler):
    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Accept-Encoding")))
        self.answer({"ApiVersion": "1.45"} if self.path.endswith("/version") else b"archive")


@pytest.fixture
def docker() -> Iterator[tuple[Engine, list[tuple[str, str | None]]]]:
    asked: list[tuple[str, str | None]] = []
    with docker_server(Docker, asked=asked) as server:
        yield Engine(f"tcp://{server}"), asked


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
        stat = base64.b64encode(json.dumps({"linkTarget": said}).encode()).decode()
        content = b"archive" if status == 200 else {"message": said}
        self.answer(content, status, **{"X-Docker-Container-Path-Stat": stat})


def test_what_is_read_from_a_seat() -> None:
    with docker_server(Seat, asked=[]) as server:
        engine = Engine(f"tcp://{server}")
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


class BusyDocker(Docker):
    """Cannot freeze a container the first ``refusals`` times."""

    refusals: int

    def do_POST(self) -> None:
        self.asked.append((self.path, None))
        refused = len(self.asked) <= self.refusals
        why = {"message": "OCI runtime pause failed: unable to freeze: unknown"}
        self.answer(why if refused else b"", 500 if refused else 204)


@pytest.mark.parametrize(("refusals", "is_paused"), [(8, True), (10_000, False)])
def test_a_machine_that_is_busy_needs_some_tries_to_freeze_a_container(
    monkeypatch: pytest.MonkeyPatch, refusals: int, is_paused: bool
) -> None:
    if not is_paused:
        monkeypatch.setattr(client, "_FREEZE_SECONDS", 0.3)
    asked: list[tuple[str, str | None]] = []
    with docker_server(BusyDocker, asked=asked, refusals=refusals) as server:
        engine = Engine(f"tcp://{server}")
        asked.clear()
        if is_paused:
            engine.pause("seat")
            assert len(asked) == refusals + 1
        else:
            with pytest.raises(AtelierError):
                engine.pause("seat")


class OtherRemoves(Docker):
    """Refuses ``refusals`` times to remove a container, because another run's removal of it has not ended."""

    refusals: int

    def do_DELETE(self) -> None:
        self.asked.append((self.path, None))
        refused = len(self.asked) <= self.refusals
        said = "removal of container seat is already in progress" if refused else "No such container: seat"
        self.answer({"message": said}, 409 if refused else 404)


@pytest.mark.parametrize(("refusals", "is_removed"), [(3, True), (10_000, False)])
def test_a_container_that_another_run_removes_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, refusals: int, is_removed: bool
) -> None:
    """Runs side by side remove the same containers that resets kept long enough."""
    if not is_removed:
        monkeypatch.setattr(client, "_REMOVAL_SECONDS", 0.3)
    asked: list[tuple[str, str | None]] = []
    with docker_server(OtherRemoves, asked=asked, refusals=refusals) as server:
        engine = Engine(f"tcp://{server}")
        asked.clear()
        if is_removed:
            engine.remove("seat")
            assert len(asked) == refusals + 1
        else:
            with pytest.raises(AtelierError, match="already in progress"):
                engine.remove("seat")


class RemovingDocker(Docker):
    """Docker 26.1 while it removes an image: seen some 4 times in 13,000 requests for images being removed."""

    def do_GET(self) -> None:
        if self.path.endswith("/version"):
            super().do_GET()
            return
        gone = "gone" in self.path
        self.answer({"message": "No such image: gone" if gone else "layer does not exist"}, 404 if gone else 500)

    def do_DELETE(self) -> None:
        self.answer({"message": "unrecognized image ID sha256:1"}, 500)


@pytest.mark.parametrize("image", ["gone", "vanishing"])
def test_an_image_that_is_being_removed_does_not_exist(image: str) -> None:
    """Seats of one workshop share images, and are removed side by side."""
    with docker_server(RemovingDocker, asked=[]) as server:
        engine = Engine(f"tcp://{server}")
        assert engine.image(image) is None
        assert engine.layer_size(image) == 0
        # What Docker 20.10 says to the second of two that remove an image.
        assert not engine.remove_image(image)


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
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate.certificate, certificate.key)
    with docker_server(HangingDocker, tls, asked=[], greets=greets, ended=ended) as server:
        begun = time.monotonic()
        with pytest.raises(AtelierError) as error:
            Engine(f"https://{server}", node="alpha", certificate=certificate).inspect("x")
        assert time.monotonic() - begun < 10
        ended.set()
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
