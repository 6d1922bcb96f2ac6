"""Routes: the map file, and a runtime socket that behaves as HAProxy's does (its limits included)."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.locks import Locks
from atelier.gateway.haproxy import Gateway, wrong_routes

BUFFER = 16_384


class FakeProxy:
    """Answers ``show map``, ``add map``, ``set map`` and ``del map`` on a UNIX socket as HAProxy does."""

    def __init__(self, path: Path, routes: Mapping[str, str] = {}, refusal: str = "", silent: bool = False) -> None:
        self.routes, self.commands = dict(routes), []  # type: ignore[var-annotated]
        self._refusal, self._silent = refusal, silent
        path.parent.mkdir(parents=True, exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(20)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):  # closed before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                text = b""
                # A payload ends with an empty line, everything else with the line.
                while not (text.endswith(b"\n\n") if b"<<\n" in text else text.endswith(b"\n")):
                    text += connection.recv(65536)
                if self._silent:
                    connection.close()
                    continue
                connection.sendall(self._answer(text.decode()).encode())

    def _answer(self, text: str) -> str:
        self.commands.append(text)
        if len(text) > BUFFER:
            return "Command too long\n"
        if text.startswith("show map "):
            return "".join(f"0x{n:x} {key} {value}\n" for n, (key, value) in enumerate(self.routes.items())) + "\n"
        if self._refusal:
            return f"{self._refusal}\n"
        if "<<\n" in text:
            for line in text.partition("<<\n")[2].splitlines():
                if line:
                    key, value = line.split()
                    self.routes[key] = value
            return "\n"
        for command in text.strip().split("; "):
            verb, _, _, key, *value = command.split()
            if verb == "set":
                self.routes[key] = value[0]
            elif self.routes.pop(key, None) is None:
                return "Key not found.\n"
        return "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def gateway(folder: Path) -> Gateway:
    return Gateway(folder, Locks(folder))


@pytest.fixture
def proxy(folder: Path) -> Iterator[FakeProxy]:
    fake = FakeProxy(folder / "gateway" / "admin.sock", {"kept": "10.0.0.1", "moved": "10.0.0.2", "gone": "10.0.0.3"})
    yield fake
    fake.close()


def test_comparing() -> None:
    assert wrong_routes({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "9", "d": "4"}) == ["b", "c", "d"]
    assert not wrong_routes({"a": "1"}, {"a": "1"})


def test_without_a_running_gateway_the_file_is_written(gateway: Gateway, folder: Path) -> None:
    assert gateway.running() is None
    assert gateway.sync(lambda: {"a": "10.0.0.1", "b": "10.0.0.2"})
    file = folder / "gateway" / "routes.map"
    assert file.read_text() == "a 10.0.0.1\nb 10.0.0.2\n"
    assert file.stat().st_mode & 0o777 == 0o644
    assert not gateway.sync(lambda: {"a": "10.0.0.1", "b": "10.0.0.2"})
    assert gateway.saved() == {"a": "10.0.0.1", "b": "10.0.0.2"}


def test_a_running_one_is_brought_to_the_same(gateway: Gateway, proxy: FakeProxy) -> None:
    wanted = {"kept": "10.0.0.1", "moved": "10.0.0.9", "added": "10.0.0.4"}
    gateway.sync(lambda: wanted)
    assert proxy.routes == gateway.saved() == gateway.running() == wanted


def test_what_is_right_already_sends_no_command(gateway: Gateway, proxy: FakeProxy) -> None:
    gateway.sync(lambda: dict(proxy.routes))
    assert [command.split()[0] for command in proxy.commands] == ["show"]


def test_a_thousand_routes_come_and_go_in_few_commands_that_fit_the_buffer(tmp_path: Path) -> None:
    folder = tmp_path / ("a-state-folder-with-a-long-name-" * 3)
    folder.mkdir()
    # The path of a socket may not be that long: bind it from inside, as HAProxy in its container does.
    (folder / "gateway").mkdir()
    fake = FakeProxy(tmp_path / "s" / "admin.sock")
    (tmp_path / "s" / "admin.sock").rename(folder / "gateway" / "admin.sock")
    gateway = Gateway(folder, Locks(folder))
    routes = {f"{number:012x}": f"10.1.{number >> 8}.{number & 255}" for number in range(1000)}
    gateway.sync(lambda: routes)
    assert fake.routes == routes
    assert len(fake.commands) < 12
    gateway.sync(lambda: dict.fromkeys(routes, "10.2.0.1"))
    assert set(fake.routes.values()) == {"10.2.0.1"}
    gateway.sync(dict)
    assert fake.routes == {}
    fake.close()


def test_a_refusal_says_what_haproxy_said(gateway: Gateway, folder: Path) -> None:
    fake = FakeProxy(folder / "gateway" / "admin.sock", refusal="Unknown map identifier.")
    with pytest.raises(AtelierError, match=re.escape("Unknown map identifier. Run ./atelier up")) as error:
        gateway.sync(lambda: {"a": "10.0.0.1"})
    assert error.value.code is Code.GATEWAY_ERROR
    fake.close()


def test_one_that_hangs_up_is_an_error_of_ours(gateway: Gateway, folder: Path) -> None:
    fake = FakeProxy(folder / "gateway" / "admin.sock", silent=True)
    with pytest.raises(AtelierError, match="did not answer") as error:
        gateway.sync(lambda: {"a": "10.0.0.1"})
    assert error.value.code is Code.GATEWAY_ERROR
    fake.close()


def test_one_that_never_answers_is_an_error_of_ours(
    gateway: Gateway, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atelier.gateway.runtime_socket._TIMEOUT_SECONDS", 0.1)
    (folder / "gateway").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "gateway" / "admin.sock"))
        listener.listen()
        with pytest.raises(AtelierError) as error:
            gateway.sync(lambda: {"a": "10.0.0.1"})
    assert error.value.code is Code.GATEWAY_ERROR


def test_a_map_that_cannot_be_written_is_an_error_of_ours(gateway: Gateway, folder: Path) -> None:
    (folder / "gateway").mkdir()
    (folder / "gateway" / "routes.map").mkdir()
    with pytest.raises(AtelierError) as error:
        gateway.sync(lambda: {"a": "10.0.0.1"})
    assert error.value.code is Code.GATEWAY_ERROR


def test_a_socket_that_nobody_serves_any_more_is_no_gateway(gateway: Gateway, proxy: FakeProxy) -> None:
    proxy.close()
    assert gateway.running() is None


def test_routes_are_read_only_once_the_map_is_held(folder: Path) -> None:
    """Two at once: the last writer must also be the last reader, or it undoes the other's route."""
    locks, routes = Locks(folder), {"a": "10.0.0.1"}
    held, result = threading.Event(), {}  # type: ignore[var-annotated]

    def sync() -> None:
        held.set()
        Gateway(folder, locks).sync(lambda: result.setdefault("routes", dict(routes)))

    with locks.gateway():
        thread = threading.Thread(target=sync)
        thread.start()
        held.wait()
        thread.join(0.2)
        routes["b"] = "10.0.0.2"
    thread.join()
    assert Gateway(folder, locks).saved() == {"a": "10.0.0.1", "b": "10.0.0.2"}
