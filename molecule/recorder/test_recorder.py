"""The recorder, used by seats as their programs use it, while its process is killed and its disk is full."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from atelier.common.models import Network, ProxyMode, Quotas, Workspace
from atelier.database.workspace_store import WorkspaceStore
from conftest import playbook
from docker.models.containers import Container
from upstream import GAP, Upstream

from tests.waiting import eventually

HERE = Path(__file__).parent
VARS = yaml.safe_load((HERE / "vars/main.yml").read_text())
SEAT, QUIET = "0123456789ab", "fedcba987654"
LLM, PORT = "api.llm.example", 8080
CANARY = "canary-4f1d7c"


def network(name: str) -> IPv4Network:
    return IPv4Network(VARS[name]["subnet"])


RECORDER = str(network("recorder_network")[1])
ADDRESSES = {SEAT: str(network("recorder_network")[16]), QUIET: str(network("recorder_network")[17])}
UNKNOWN = str(network("recorder_network")[18])


class Seat:
    def __init__(self, container: Container, port: int) -> None:
        self._container = container
        self._port = port

    def start(self, path: str, body: object = None, host: str = LLM, **more: Any) -> Callable[[], dict[str, Any]]:
        """Begins a call and returns what waits for its end."""
        order = {"proxy": [RECORDER, PORT], "target": [host, more.pop("port", self._port)], "path": path, **more}
        if body is not None:
            order["body"] = body if isinstance(body, str) else json.dumps(body)
        encoded = base64.b64encode(json.dumps(order).encode()).decode()
        command = ["docker", "exec", str(self._container.id), "python3", "/client/client.py", encoded]
        running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

        def finish() -> dict[str, Any]:
            output, _ = running.communicate(timeout=60)
            found: dict[str, Any] = json.loads(output)
            return found

        return finish

    def call(self, path: str, body: object = None, **more: Any) -> dict[str, Any]:
        return self.start(path, body, **more)()


class Recordings:
    def __init__(self, site: dict[str, Any]) -> None:
        self.state = Path(site["state_dir"])
        self.folder = self.state / "recordings"

    def conversations(self, workspace: str = SEAT) -> list[dict[str, Any]]:
        files = sorted((self.folder / workspace / "conversations").glob("2*.json"))
        return [json.loads(path.read_text()) for path in files]

    def domains(self, workspace: str = SEAT) -> dict[str, dict[str, Any]]:
        path = self.folder / workspace / "domains.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def next_after(self, count: int, workspace: str = SEAT) -> dict[str, Any]:
        """The newest conversation once there are more than ``count`` and it is finished."""

        def newest() -> dict[str, Any] | None:
            found = self.conversations(workspace)
            return found[-1] if len(found) > count and found[-1]["duration_ms"] is not None else None

        found: dict[str, Any] = eventually(newest, "conversation")
        return found


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    folder = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "recorder-test"
    server = Upstream(VARS["recorder_upstream"], VARS["recorder_names"], folder)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def engine(site: dict[str, Any]) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=site["engine_url"])
    yield client
    client.close()


@pytest.fixture(scope="module")
def recorder(site: dict[str, Any], engine: docker.DockerClient) -> Container:
    return engine.containers.get(f"{site['instance']}-recorder")


@pytest.fixture(scope="module")
def recordings(site: dict[str, Any]) -> Recordings:
    found = Recordings(site)
    table = found.state / "egress" / "workspaces.json"
    new = table.with_suffix(".new")
    new.write_text(json.dumps({address: {"id": key, "group": None} for key, address in ADDRESSES.items()}))
    new.replace(table)
    return found


@pytest.fixture(scope="module")
def seats(
    site: dict[str, Any], engine: docker.DockerClient, recorder: Container, recordings: Recordings, upstream: Upstream
) -> Iterator[Callable[..., Seat]]:
    """Makes seats: containers on the logging network (or another) at an address, with nothing but a client in them."""
    made: dict[str, Container] = {}

    def make(address: str = ADDRESSES[SEAT], name: str = "log") -> Seat:
        if address not in made:
            container = engine.containers.create(
                recorder.image.id,
                entrypoint=["sleep", "infinity"],
                labels={"atelier.instance": site["instance"]},
                init=True,
                volumes={
                    str(HERE / "client.py"): {"bind": "/client/client.py", "mode": "ro"},
                    str(recordings.state / "recorder" / "ca.pem"): {"bind": "/client/ca.pem", "mode": "ro"},
                },
            )
            made[address] = container
            engine.networks.get("bridge").disconnect(container)
            engine.networks.get(f"{site['instance']}-{name}").connect(container, ipv4_address=address)
            container.start()
        return Seat(made[address], upstream.port)

    yield make
    for container in made.values():
        container.remove(force=True)


@pytest.fixture
def seat(seats: Callable[..., Seat]) -> Seat:
    return seats()


def chat(text: str = "hi") -> dict[str, Any]:
    return {"model": "gpt-test-1", "stream": True, "messages": [{"role": "user", "content": text}]}


def test_a_stream_passes_at_once_and_is_recorded_whole(seat: Seat, recordings: Recordings) -> None:
    before = len(recordings.conversations())
    answer = seat.call("/slow/v1/chat/completions", chat())
    assert answer["status"] == 200
    first, last = answer["pieces"][0][0], answer["pieces"][-1][0]
    # The server takes six gaps for the whole; where the machine is busy, a piece comes late, or with the next one.
    assert last - first > 3 * GAP
    assert len(answer["pieces"]) >= 4
    record = recordings.next_after(before)
    assert record["parsed_request"]["messages"] == [{"role": "user", "content": "hi"}]
    assert record["parsed_response"]["content"] == "slow but sure"
    assert record["parsed_response"]["usage"]["total_tokens"] == 12
    assert record["incomplete"] is False
    assert record["first_byte_ms"] < record["duration_ms"]


def test_domains_are_counted_once_a_request(seat: Seat, recordings: Recordings) -> None:
    def count() -> int:
        return int(recordings.domains().get("files.example", {}).get("count", 0))

    before = count()
    for _ in range(3):
        assert seat.call("/file", host="files.example")["body"] == "hello\n"
    eventually(lambda: count() == before + 3, "count of three")
    entry = recordings.domains()["files.example"]
    assert entry["first_seen"] <= entry["last_seen"]
    assert entry["last_seen"].endswith("Z")


def test_tools_and_their_arguments(seat: Seat, recordings: Recordings) -> None:
    before = len(recordings.conversations())
    seat.call(
        "/v1/messages", {"model": "claude-test-1", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    )
    response = recordings.next_after(before)["parsed_response"]
    assert response["tool_calls"] == [{"id": "toolu_1", "name": "read_file", "arguments": '{"path": "a.py"}'}]
    assert (response["content"], response["usage"]["output_tokens"]) == ("I look it up.", 15)


def test_a_socket_session(seat: Seat, recordings: Recordings) -> None:
    before = len(recordings.conversations())
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello?"}]}
    answer = seat.call(
        "/v1/realtime?model=gpt-realtime-test",
        socket=[{"type": "conversation.item.create", "item": item}, {"type": "response.create"}],
        until="response.done",
        headers={"Authorization": f"Bearer {CANARY}-socket"},
    )
    assert answer["status"] == "HTTP/1.1 101 Switching Protocols"
    record = recordings.next_after(before)
    assert record["parsed_request"]["messages"] == [{"role": "user", "content": "hello?"}]
    assert (record["model"], record["parsed_response"]["content"]) == ("gpt-realtime-test", "over a socket")


def test_broken_json_passes_unchanged(seat: Seat, recordings: Recordings) -> None:
    before = len(recordings.conversations())
    answer = seat.call("/broken/v1/chat/completions", chat())
    assert answer["body"] == '{"choices": [{"message": {"content": "bro'
    record = recordings.next_after(before)
    assert record["incomplete"] is True
    assert record["raw_response"] == answer["body"]


def test_a_seat_that_leaves_midway(seat: Seat, recordings: Recordings) -> None:
    before = len(recordings.conversations())
    seat.call("/endless/v1/chat/completions", chat(), leave_after=3)
    record = recordings.next_after(before)
    assert record["incomplete"] is True
    assert record["parsed_response"]["content"].startswith("word0 ")


def content(path: Path) -> bytes:
    """Nothing for a file that has gone: the recorder writes beside the old one, and puts that in its place."""
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


def test_nothing_secret_is_written(seat: Seat, recordings: Recordings, recorder: Container) -> None:
    before = len(recordings.conversations())
    look, plain = f"sk-{CANARY}-abcdefgh", f"{CANARY}-plain"
    told = chat(f"my key is {look} and {plain}") | {"metadata": {"api_key": f"{CANARY}-named"}}
    headers = {"Authorization": f"Bearer {plain}", "X-Api-Key": f"{CANARY}-header", "Cookie": f"sid={CANARY}-cookie"}
    path = f"/v1/chat/completions?key={CANARY}-query&alt=sse"
    assert seat.call(path, told, headers=headers)["status"] == 200
    record = recordings.next_after(before)
    assert record["parsed_request"]["messages"][0]["content"] == "my key is [redacted] and [redacted]"
    assert record["url"].endswith("?key=[redacted]&alt=sse")
    files = [path for path in recordings.state.rglob("*") if path.is_file()]
    assert [str(path) for path in files if CANARY.encode() in content(path)] == []
    assert CANARY.encode() not in recorder.logs()


def test_an_address_that_nobody_has_passes_unrecorded(seats: Callable[..., Seat], recordings: Recordings) -> None:
    before = {path.name for path in recordings.folder.iterdir()}
    assert seats(UNKNOWN).call("/v1/chat/completions", chat())["status"] == 200
    # Whatever came before is written once this is.
    count = len(recordings.conversations(QUIET))
    seats(ADDRESSES[QUIET]).call("/v1/chat/completions", chat("marker"))
    assert recordings.next_after(count, QUIET)["parsed_response"]["content"] == "Hello there"
    assert {path.name for path in recordings.folder.iterdir()} - before <= {QUIET}


def test_another_networks_seat_is_refused(seats: Callable[..., Seat], upstream: Upstream) -> None:
    foreign = seats(str(network("recorder_foreign")[16]), "foreign")
    before = len(upstream.seen)
    assert foreign.call("/v1/chat/completions", chat())["status"] is None
    assert foreign.call("", connect=True)["status"] in (None, "")
    assert len(upstream.seen) == before


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "loop.example", "metadata.example", "169.254.169.254", "localhost", "0.0.0.0"),  # noqa: S104
        *("[::1]", "[::ffff:127.0.0.1]", "[fd00:ec2::254]", "10.0.0.1", RECORDER, ADDRESSES[QUIET], "2130706433"),
    ],
)
def test_what_is_not_public_is_refused(seat: Seat, host: str) -> None:
    assert "502" in seat.call("", host=host, port=22, connect=True)["status"]


def test_the_recorder_has_no_more_rights_than_it_needs(site: dict[str, Any], recorder: Container) -> None:
    recorder.reload()
    config = recorder.attrs["HostConfig"]
    assert config["CapDrop"] == ["ALL"]
    assert not config["CapAdd"]
    assert config["ReadonlyRootfs"] is True
    assert config["Memory"] == config["MemorySwap"] > 0 and config["PidsLimit"] > 0
    assert recorder.exec_run(["id", "-u"]).output.decode().strip() == "58080"
    assert recorder.exec_run(["touch", "/ca/x"]).exit_code != 0
    folder = Path(site["state_dir"]) / "recorder"
    for name in ("ca/ca.key", "ca/ca.pem"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in (folder / "ca.pem").read_text()


def proxy_process(recorder: Container) -> int:
    found = recorder.top(ps_args="-eo pid,args")["Processes"]
    return next(
        int(pid)
        for pid, command in found
        if command.endswith("-m atelier_recorder /settings/settings.json") and "tini" not in command
    )


def listening(seat: Seat) -> Callable[[], bool]:
    return lambda: seat.call("/file")["status"] == 200


def test_a_kill_loses_nothing_that_was_recorded(seat: Seat, recordings: Recordings, recorder: Container) -> None:
    seat.call("/v1/chat/completions", chat("before the kill"))
    eventually(
        lambda: recordings.conversations()[-1]["parsed_request"]["messages"][0]["content"] == "before the kill",
        "record",
    )
    eventually(lambda: recordings.domains().get(LLM), "domain")
    before, domains = recordings.conversations(), recordings.domains()
    under_way = seat.start("/endless/v1/chat/completions", chat("under way"))

    def flushed() -> bool:
        newest = recordings.conversations()[-1]
        return newest["parsed_request"]["messages"][0]["content"] == "under way"

    # It is on disk before its end, as far as it went.
    eventually(flushed, "flush of a stream under way")
    os.kill(proxy_process(recorder), signal.SIGKILL)
    assert under_way()["body"].startswith("data: ")
    eventually(listening(seat), "recorder")
    after = recordings.conversations()
    assert after[: len(before)] == before
    assert after[len(before)]["incomplete"] is True
    assert after[len(before)]["parsed_response"]["content"].startswith("word0 ")
    count = len(after)
    seat.call("/v1/chat/completions", chat("after"))
    assert recordings.next_after(count)["parsed_response"]["content"] == "Hello there"
    eventually(lambda: recordings.domains()[LLM]["count"] > domains[LLM]["count"], "count that goes on")


def test_a_stop_writes_what_is_under_way(seat: Seat, recordings: Recordings, recorder: Container) -> None:
    before = len(recordings.conversations())
    under_way = seat.start("/endless/v1/chat/completions", chat("stopped"))
    eventually(lambda: len(recordings.conversations()) > before, "first flush")
    recorder.stop()
    under_way()
    stopped = recordings.conversations()[-1]
    assert (stopped["incomplete"], stopped["parsed_request"]["messages"][0]["content"]) == (True, "stopped")
    assert stopped["duration_ms"] is not None
    recorder.start()
    eventually(listening(seat), "recorder")


def test_a_full_disk_stops_nobody(seat: Seat, recordings: Recordings, recorder: Container) -> None:
    recorder.stop()
    options = "size=256k,uid=58080,gid=58080,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", recordings.folder], check=True)
    try:
        recorder.start()
        eventually(listening(seat), "recorder")
        started = len(recorder.logs().splitlines())
        filler = recordings.folder / "filler"
        with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        for _ in range(3):
            answer = seat.call("/v1/chat/completions", chat("x" * 20_000))
            assert (answer["status"], answer["body"].count("data:")) == (200, 6)
        eventually(lambda: b"traffic goes on" in recorder.logs(), "word about it")
        filler.unlink()
        seat.call("/v1/chat/completions", chat("there is room again"))
        eventually(lambda: recordings.conversations(), "conversation once there is room")
        eventually(lambda: recordings.domains().get(LLM), "domains once there is room")
        said = recorder.logs().decode().splitlines()[started:]
        assert len([line for line in said if "traffic goes on" in line]) == 1
    finally:
        recorder.stop()
        subprocess.run(["umount", recordings.folder], check=True)
        recorder.start()
        eventually(listening(seat), "recorder")


def test_other_settings_make_another_container(seat: Seat, recordings: Recordings, recorder: Container) -> None:
    run = playbook(HERE / "converge.yml", "-e", "atelier_recorder_retention_days=7")
    assert run.returncode == 0, run.stdout
    assert recorder.client is not None
    assert recorder.client.containers.get(str(recorder.name)).id != recorder.id
    settings = json.loads((recordings.state / "recorder/settings/settings.json").read_text())
    assert settings["retention_days"] == 7
    eventually(listening(seat), "recorder")


def test_recording_leads_to_a_whitelist_and_a_document(
    site: dict[str, Any], seat: Seat, recordings: Recordings, tmp_path: Path
) -> None:
    """A CI pipeline's way: a base workspace that was used, then only the playbooks."""
    known = {"none": site["networks"]["none"], "logging": VARS["recorder_network"] | {"name": "unused"}}
    networks = {ProxyMode(mode): Network(entry["name"], IPv4Network(entry["subnet"])) for mode, entry in known.items()}
    with WorkspaceStore(recordings.state, networks, Quotas(10, 10, True, 8, 16384)) as store:
        order = Workspace(SEAT, "recorded-base", "empty", proxy_mode=ProxyMode.LOGGING)
        (workspace,) = store.reserve([order])
    seat.call("/file", host="files.example")
    eventually(lambda: recordings.domains().get("files.example"), "domain")
    before = len(recordings.conversations())
    seat.call("/v1/chat/completions", chat("put this into the document"))
    recordings.next_after(before)
    playbooks, of_it = HERE.parents[1] / "playbooks", ("-e", "workspace_name=recorded-base")
    whitelist, text = tmp_path / "domains.yml", tmp_path / "session.md"
    run = playbook(playbooks / "recorded_domains.yml", *of_it, "-e", f"recorded_domains_file={whitelist}")
    assert run.returncode == 0, run.stdout
    assert "files.example" in run.stdout
    assert "files.example" in yaml.safe_load(whitelist.read_text())["whitelist_domains"]
    run = playbook(playbooks / "recordings_document.yml", *of_it, "-e", f"document_file={text}")
    assert run.returncode == 0, run.stdout
    assert "put this into the document" in text.read_text()
    assert text.stat().st_mode & 0o777 == 0o600
    with WorkspaceStore(recordings.state, networks, Quotas(10, 10, True, 8, 16384)) as store:
        store.delete(workspace.id)
