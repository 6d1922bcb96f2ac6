"""An upgrade from an older release, as an operator does it: what people had is there, nobody is disconnected, seats get
the new image when they are upgraded."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import docker
import httpx
import pytest
from docker.models.containers import Container

from tests.e2e.internet import ADDRESS, MODELS, NAMES, internet
from tests.e2e.test_egress import CHAT
from tests.installed import ROOT, Installation, Seat, front_door
from tests.waiting import eventually

from .older import RELEASES, checked_out, installed_by

# The first run of the older release builds all images, and takes its turn after other checkouts' runs.
pytestmark = pytest.mark.timeout(3000)

*EARLIER, BEFORE = RELEASES
INSTANCE = "atelier-upgrade"
PORT = 18141
ECHO_PORT, ALIAS = 9000, "demo-app"
ADMIN = "canary-of-the-upgrade"
# A program in a seat that answers a WebSocket handshake and sends back what it gets.
ECHO = """
import socket, threading
def serve(client):
    client.recv(65536)
    client.sendall(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
                   b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\\r\\n\\r\\n")
    while data := client.recv(65536):
        client.sendall(data)
server = socket.create_server(("0.0.0.0", 9000))
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""


class Line:
    """An open WebSocket to the alias, on which something is said twice a second until it breaks."""

    def __init__(self) -> None:
        self.said, self.broken = 0, ""
        self._stopped = threading.Event()
        self._socket = socket.create_connection(("127.0.0.1", PORT), timeout=10)
        self._socket.sendall(
            f"GET / HTTP/1.1\r\nHost: {ALIAS}.localhost\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        answer = self._socket.recv(4096)
        assert answer.startswith(b"HTTP/1.1 101"), answer
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self._thread.start()

    def _talk(self) -> None:
        while not self._stopped.wait(0.5):
            try:
                self._socket.sendall(b"still there?")
                heard = self._socket.recv(4096)
            except OSError as error:
                self.broken = repr(error)
                return
            if heard != b"still there?":
                self.broken = f"heard {heard!r}"
                return
            self.said += 1

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()
        self._socket.close()


@dataclass
class Day:
    """The state of the older release, and what the upgrade did meanwhile."""

    installation: Installation
    api: httpx.Client
    projects: dict[str, dict[str, Any]] = field(default_factory=dict)
    started: dict[str, str] = field(default_factory=dict)
    claim: dict[str, Any] = field(default_factory=dict)
    cookie: str = ""
    schema: int = 0
    line: Line | None = None

    def id(self, name: str) -> str:
        return str(self.projects[name]["id"])

    def container(self, name: str) -> Container:
        """The seat's own, not one that was kept."""
        found = docker.from_env().containers.list(all=True, filters={"label": f"atelier.workspace={self.id(name)}"})
        (own,) = (container for container in found if "-kept-" not in container.name)
        return own

    def run(self, name: str, command: str, user: str = "") -> str:
        code, output = self.container(name).exec_run(["bash", "-c", command], workdir="/workspace", user=user)
        assert code == 0, output
        return str(output.decode()).strip()

    def seat(self, name: str) -> Seat:
        return next(seat for seat in self.installation.seats() if seat.name == name)

    def signs_in(self, name: str, password: str) -> str | None:
        """The IDE's session cookie for the password, if that is right."""
        host = f"{self.id(name)}.localhost"
        form = {"password": password, "base": ".", "href": f"http://{host}:{PORT}/login"}
        answer = httpx.post(f"http://127.0.0.1:{PORT}/login", data=form, headers={"Host": f"{host}:{PORT}"}, timeout=30)
        cookie = answer.headers.get("set-cookie", "").partition(";")[0]
        return cookie if answer.status_code == 302 and "session" in cookie else None

    def is_signed_in(self, name: str, cookie: str) -> bool:
        headers = {"Host": f"{self.id(name)}.localhost:{PORT}", "Cookie": cookie}
        answer = httpx.get(f"http://127.0.0.1:{PORT}/", headers=headers, timeout=30)
        return answer.status_code in (200, 302) and "login" not in answer.headers.get("location", "")

    def listed(self) -> dict[str, dict[str, Any]]:
        return {project["name"]: project for project in self.api.get("/projects").json()["projects"]}


@pytest.fixture(scope="module", params=[*(pytest.param(each, marks=pytest.mark.earlier) for each in EARLIER), BEFORE])
def day(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """A day on the older release, and the upgrade to this checkout while a WebSocket is open."""
    folder = tmp_path_factory.mktemp("upgrade")
    old = checked_out(RELEASES[request.param], folder / f"atelier-{request.param}")
    hosts = dict.fromkeys(NAMES, ADDRESS)
    with (
        internet(folder / "internet") as authority,
        installed_by(
            old,
            folder,
            INSTANCE,
            atelier_base_port=PORT,
            atelier_recorder_hosts=hosts,
            atelier_recorder_upstream_ca=str(authority),
            atelier_recorder_allowed_networks=[f"{ADDRESS}/32"],
            atelier_network_open_bridge="atl-upg",
            atelier_network_open_subnet="172.20.0.0/20",
            atelier_network_logging_bridge="atl-upg-log",
            atelier_network_logging_subnet="172.20.16.0/21",
            atelier_network_security_bridge="atl-upg-sec",
            atelier_network_security_subnet="172.20.24.0/21",
            atelier_templates=["empty"],
            workshop_seats=2,
            workshop_git_repo=True,
            atelier_workshop_admin_password=ADMIN,
        ) as installation,
        httpx.Client(base_url=f"http://127.0.0.1:{PORT}/api", timeout=600) as api,
    ):
        made = Day(installation, api)
        _work(made)
        made.line = Line()
        done = installation.run("up")
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        made.up = done.stdout
        yield made
        made.line.close()
        shutil.rmtree(old, ignore_errors=True)


def _work(day: Day) -> None:
    """Does what people do: a claim, files, packages, a push, a recorded conversation, an alias."""
    for name, mode in (("recorded", "logging"), ("asleep", "none")):
        wanted = {"projectName": name, "projectType": "empty", "proxyMode": mode}
        answer = day.api.post("/projects/create", json=wanted)
        assert answer.status_code == 201, answer.text
    day.projects = day.listed()
    answer = day.api.post("/workshop/claim", json={"name": "Ann", "email": "ann@example.org"})
    assert answer.status_code == 200, answer.text
    (day.claim,) = day.api.get("/workshop/claims", headers={"X-Admin-Password": ADMIN}).json()["claims"]
    for name in day.projects:
        day.run(name, f"echo '{name}' >/workspace/work; mkdir -p ~/.config/tool; echo mine >~/.config/tool/settings")
        day.run(name, "rm /workspace/README.md; ln work linked; ln -s work symbolic; chmod 640 work")
        # As an administrator installs a package.
        day.run(name, "touch /usr/local/bin/installed", user="root")
    day.run("Workshop 1", "git add -A && git commit -qm 'My work' && git push -q")
    day.run("recorded", CHAT)
    path = f"/projects/{day.id('recorded')}/llm-conversations"
    eventually(lambda: day.api.get(path).json()["count"], "the conversation is written")
    alias = {"subdomain": ALIAS, "port": ECHO_PORT}
    assert day.api.post(f"/projects/{day.id('Workshop 1')}/aliases", json=alias).status_code == 201
    cookie = day.signs_in("Workshop 1", day.seat("Workshop 1").password)
    assert cookie is not None
    day.cookie = cookie
    _serve(day)
    assert day.api.post(f"/projects/{day.id('asleep')}/stop", json={}).status_code == 200
    day.started = {name: day.container(name).attrs["State"]["StartedAt"] for name in day.projects}
    with closing(sqlite3.connect(day.installation.state_dir / "registry.sqlite3")) as db:
        (day.schema,) = db.execute("PRAGMA user_version").fetchone()


def _serve(day: Day) -> None:
    """Starts the program behind the alias."""
    day.container("Workshop 1").exec_run(["python3", "-c", ECHO], detach=True)
    day.run(
        "Workshop 1", f"for _ in $(seq 50); do (: </dev/tcp/127.0.0.1/{ECHO_PORT}) && exit 0; sleep 0.1; done; exit 1"
    )


def test_no_seat_restarted_and_open_ides_stayed_connected(day: Day) -> None:
    assert {name: day.container(name).attrs["State"]["StartedAt"] for name in day.projects} == day.started
    assert day.line is not None
    said = day.line.said
    eventually(lambda: day.line is not None and (day.line.broken or day.line.said > said), "the line says something")
    assert day.line.broken == ""


def test_the_database_moved_forward_and_its_copy_is_put_aside(day: Day) -> None:
    state = day.installation.state_dir
    (copy,) = (state / "database-copies").iterdir()
    for file, schema in ((copy, day.schema), (state / "registry.sqlite3", None)):
        with closing(sqlite3.connect(file)) as db:
            found = db.execute("PRAGMA user_version").fetchone()[0]
            assert found == schema or (schema is None and found > day.schema)
            assert {row[0] for row in db.execute("SELECT name FROM workspaces")} == set(day.projects)


def test_what_people_had_is_there(day: Day) -> None:
    listed = day.listed()
    assert {name: (found["id"], found["status"]) for name, found in listed.items()} == {
        name: (found["id"], "stopped" if name == "asleep" else found["status"]) for name, found in day.projects.items()
    }
    (claim,) = day.api.get("/workshop/claims", headers={"X-Admin-Password": ADMIN}).json()["claims"]
    assert (claim["email"], claim["projectId"]) == (day.claim["email"], day.claim["projectId"])
    for seat in day.installation.seats():
        assert day.signs_in(seat.name, seat.password), seat.name
        assert not day.signs_in(seat.name, "wrong-password")
    assert day.is_signed_in("Workshop 1", day.cookie)
    _is_recorded(day)
    _is_pushed(day)
    _alias_leads_there()


def _alias_leads_there() -> None:
    line = Line()
    try:
        eventually(lambda: line.broken or line.said, "the program behind the alias answers")
        assert line.broken == ""
    finally:
        line.close()


def _is_recorded(day: Day) -> None:
    path = f"/projects/{day.id('recorded')}"
    before = day.api.get(f"{path}/llm-conversations").json()["count"]
    assert before >= 1
    assert MODELS in day.api.get(f"{path}/recorded-domains").json()["domains"]
    assert "data: [DONE]" in day.run("recorded", CHAT)
    eventually(lambda: day.api.get(f"{path}/llm-conversations").json()["count"] > before, "another one is recorded")


def _is_pushed(day: Day) -> None:
    """The repository has what was pushed, and takes more."""
    day.run("Workshop 1", "date +%N >more && git add -A && git commit -qm more && git push -q 2>&1")
    assert day.run("Workshop 1", "git fetch -q && git status -sb | head -1").startswith("##")
    assert "ahead" not in day.run("Workshop 1", "git status -sb")
    assert day.api.get("/git/repositories").json()["repositories"]


def test_the_list_shows_old_images_and_what_is_installed_is_told(day: Day) -> None:
    eventually(lambda: all(found["imageOutdated"] for found in day.listed().values()), "all are old")
    told = subprocess.run(
        [str(ROOT / "atelier"), "version", str(day.installation.state_dir)], capture_output=True, text=True, check=True
    ).stdout
    assert "Its database, images and defaults are those of this checkout." in told


def test_a_seat_gets_the_present_image(day: Day) -> None:
    name = "Workshop 1"
    before = day.container(name)
    answer = day.api.post(f"/projects/{day.id(name)}/upgrade")
    assert (answer.status_code, answer.json()["upgraded"]) == (200, True), answer.text
    _is_upgraded(day, name)
    before.reload()
    assert (before.status, "-kept-" in before.name) == ("exited", True)
    assert day.is_signed_in(name, day.cookie)
    _is_pushed(day)
    _serve(day)
    _alias_leads_there()
    again = day.api.post(f"/projects/{day.id(name)}/upgrade")
    assert again.json()["upgraded"] is False


def test_all_others_get_it_too(day: Day) -> None:
    done = day.installation.run("play", "workspace_upgrade", "-e", "upgrade_all=true")
    assert done.returncode == 0, done.stdout[-4000:]
    for name in day.projects:
        if name != "asleep":
            _is_upgraded(day, name)
    for seat in day.installation.seats():
        assert day.signs_in(seat.name, seat.password), seat.name
    _is_recorded(day)
    assert day.listed()["asleep"]["status"] == "stopped"
    assert day.api.post(f"/projects/{day.id('asleep')}/start").status_code == 200
    _is_upgraded(day, "asleep")
    drift = day.installation.run("play", "reconcile")
    assert "Docker, database and gateway agree." in drift.stdout, drift.stdout[-2000:]


def _is_upgraded(day: Day, name: str) -> None:
    eventually(lambda: not day.listed()[name]["imageOutdated"], f"{name} has the present image")
    assert day.run(name, "cat work linked symbolic ~/.config/tool/settings").split("\n") == [name, name, name, "mine"]
    assert day.run(name, "stat -c '%a %U %h' work; readlink symbolic") == "640 coder 2\nwork"
    assert "installed" not in day.run(name, "ls /usr/local/bin")
    assert "README.md" not in day.run(name, "ls -a /workspace")


def test_an_older_checkout_is_refused_before_anything_is_changed(day: Day) -> None:
    note = day.installation.state_dir / "installed.json"
    record = json.loads(note.read_text())
    note.write_text(json.dumps(record | {"version": "99.0.0"}))
    before = sorted((container.id, container.status) for container in _containers())
    try:
        refused = day.installation.run("up", "-e", "atelier_reset_keep_hours=23")
        assert refused.returncode != 0
        assert "Atelier 99.0.0 is installed here" in refused.stdout + refused.stderr
        assert sorted((container.id, container.status) for container in _containers()) == before
    finally:
        note.write_text(json.dumps(record))
    assert front_door("version", str(day.installation.state_dir)).returncode == 0


def _containers() -> list[Container]:
    ours = {"label": f"atelier.instance={INSTANCE}"}
    return list(docker.from_env().containers.list(all=True, filters=ours))


def test_the_old_gateway_goes_with_its_last_connection(day: Day) -> None:
    assert day.line is not None
    day.line.close()

    def only_the_new_one() -> bool:
        present = docker.from_env().containers.list(filters={"name": f"{INSTANCE}-gateway"})
        return [gateway.name for gateway in present] == [f"{INSTANCE}-gateway"]

    eventually(only_the_new_one, "the old gateway has ended")
    again = day.installation.run("up", "-e", "site_everything=true")
    assert again.returncode == 0, again.stdout[-4000:]
    assert [container.name for container in _containers() if "leaving" in container.name] == []
