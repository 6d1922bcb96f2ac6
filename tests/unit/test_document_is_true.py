"""The OpenAPI document is true: what the API sends has the keys that it documents, and no other ones.

The API runs here without Docker, with rows that have whatever a row can have. tests/api holds each answer that it gets
against the document in the same way.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import httpx
import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.common.models import GitServer, Network, ProxyMode, Site, Status, StopReason
from atelier.common.passwords import hash_password
from atelier.containers.engines import Engines
from atelier.database.claims import Bounds, Claims, Participant
from atelier.database.intent import stopped_on_purpose
from atelier.database.job_store import Jobs, JobState
from atelier.database.workspace_store import WorkspaceStore
from atelier.egress.squid_config import Configuration
from atelier.engine.models import Size
from atelier.gateway.aliases import Alias, put_alias
from atelier.git.client import Repository
from atelier.workshop.idle_policy import extend
from atelier.workshop.manifest import Entry, folder_of, write_manifest
from atelier.workshop.rehearsal import Limit, _result
from atelier.workspaces import disk_limits
from pydantic import ValidationError
from support import order, site

from api.core.errors import validation_response
from api.main import create_app
from api.monitoring import platform_health
from api.monitoring.docker_events import _Follower
from api.runner import queue
from api.runner.adapter import Ended
from api.runner.operations import OPERATIONS, VERDICT
from api.schemas.common import Body
from api.services import containers as containers_service
from api.services import git
from api.services.services import Services
from api.settings import Settings, load_settings
from tests.declared import write_settings
from tests.documented import Documented
from tests.recorded import write_conversation

_PROJECT = "/api/projects/{project_id}"
_PASSWORD = "admin-password"
_SUCCESSFUL = Ended(JobState.SUCCESSFUL, {})
_RECORDED_AT = "2026-02-14T10:05:00.123Z"


def settings(folder: Path) -> Settings:
    networks = {mode: Network(f"test-{mode}", IPv4Network(f"10.9.{at}.0/24")) for at, mode in enumerate(ProxyMode)}
    git = GitServer("embedded", "ann", folder / "git.sock", folder / "git.json", 3000, "http://localhost/git")
    written = write_settings(
        *(folder, "t" * 32),
        enable_proxy=True,
        ready_timeout=1,
        workspace_timeout=120,
        disk_reserve=0,
        workshop_group="day",
        workshop_end="2099-01-01T00:00:00+00:00",
        workshop_admin_password=_PASSWORD,
    )
    of_the_test = replace(site(folder), networks=networks, git=git, seat_disk=1024**3)
    return replace(load_settings(written), site=of_the_test)


class DockerNow:
    """The engine's answers about the disk of one workspace."""

    def __init__(self, name: str, id: str) -> None:
        self._name, self._checkpoint = name, f"test/checkpoint:{id}-20260419t100000000000z"

    def sizes(self, *labels: str) -> dict[str, Size]:
        return {self._name: Size(5, 50)}

    def image_tags(self, label: str) -> list[str]:
        return [self._checkpoint]

    def layer_size(self, reference: str) -> int:
        return 7

    def close(self) -> None:
        """Nothing."""


class Git:
    """A git server with one repository."""

    def __init__(self, site: Site, timeout: float = 0) -> None:
        self._made = Repository(
            *("app", "ann/app", "An app", False, "main", False, "http://localhost/git/ann/app"),
            *("http://localhost/git/ann/app.git", "2026-04-19T10:00:00Z", "2026-04-19T10:00:00Z", 1),
        )

    def repositories(self) -> list[Repository]:
        return [self._made]

    def repository(self, name: str) -> Repository:
        return self._made

    def branches(self, name: str) -> dict[str, str]:
        return {"main": "1" * 40}

    def version(self) -> str:
        return "1.2.3"


class World:
    """An API without Docker, whose answers are held against its document."""

    def __init__(self, folder: Path) -> None:
        configured = settings(folder)
        with WorkspaceStore(folder, configured.site.networks, configured.site.quotas) as store:
            self.ids = _fill(folder, store)
        app = create_app(configured)
        self.document = app.openapi()
        self.documented = Documented(self.document)
        self._loop = asyncio.Runner()
        self._lifespan = app.router.lifespan_context(app)
        self._loop.run(self._lifespan.__aenter__())
        self.services: Services = app.state.services
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://localhost")

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        request = self._client.request(method, path, json=body, headers={"X-Admin-Password": _PASSWORD, **headers})
        answer = self._loop.run(request)
        kind = answer.headers.get("content-type", "")
        self.documented.check(method, answer.url.path, answer.status_code, kind, answer.content)
        return answer

    def close(self) -> None:
        self._loop.run(self._client.aclose())
        self._loop.run(self._lifespan.__aexit__(None, None, None))
        self._loop.close()


def _fill(folder: Path, store: WorkspaceStore) -> dict[str, str]:
    """Rows that have whatever rows can have; their ids by name."""
    (base,) = store.reserve([order("day", group="day", password_hash=hash_password("secret-1"), repository="day")])
    seats = store.reserve_clones(base, None, [None] * 3, "default")
    recorded, guarded = store.reserve(
        [
            order("recorded", git_url="https://example.org/x.git", proxy_mode=ProxyMode.LOGGING),
            order("guarded", proxy_mode=ProxyMode.SECURITY),
        ]
    )
    for row in (base, *seats, recorded, guarded):
        store.update(row.id, status=Status.RUNNING)
    stopped_on_purpose(store, recorded.id, StopReason.IDLE)
    store.update(base.id, branch="main", git_problem="The repository could not be made.")
    store.update(guarded.id, status=Status.ERROR, error="Its container was removed.")
    put_alias(store, Alias("demo", base.id, 3000, "guest", "$argon2id$x"), new=True)
    extend(store, seats[0].id, 30)
    disk_limits.note(store, seats[0].id, disk_limits.Reason.WARNED, 900, 1000)
    claims = Claims(store, "day", Bounds())
    claims.claim([Participant("Max", "max@example.com"), Participant("Eva", "eva@example.com")])
    claims.release(seats[1].id)
    jobs = Jobs(store)
    for operation in ("create", "collect", "teardown", "rehearse", "revive", "password"):
        job = jobs.create(operation, [base.id, seats[0].id, "0" * 12], {}, "loopback")
        jobs.add_event(job.id, VERDICT, _verdict())
        jobs.finish(job.id, JobState.SUCCESSFUL, seats=OPERATIONS[operation].finalize(jobs, job, _SUCCESSFUL))
    entry = Entry(seats[0].id, "day 1", "running", "2026-04-19T17:30:00.000Z", file="x.tar.zst", note="No git.")
    archives = folder_of(folder, "day")
    archives.mkdir(parents=True)
    write_manifest(archives, "test", "2026-04-19T17:30:00.000Z", [entry])
    _record(folder, recorded.id)
    return {row.name: row.id for row in store.all()} | {"job": job.id}


def _verdict() -> dict[str, object]:
    figures = {"made_in": 12.5, "p50": 1.0, "p95": 2.0, "memory_per_seat": 1024, "disk_per_seat": 1024}
    return _result(20, ["Too little memory."], Limit("memory", 7), **figures)["verdict"]


def _record(folder: Path, id: str) -> None:
    recording = folder / "recordings" / id
    write_conversation(recording, _RECORDED_AT)
    seen = {"count": 2, "first_seen": _RECORDED_AT, "last_seen": _RECORDED_AT}
    (recording / "domains.json").write_text(json.dumps({"api.openai.com": seen}))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("document"))
    yield made
    made.close()


def test_every_read_is_as_documented(world: World) -> None:
    parameters = {"{job_id}": world.ids["job"], "{port}": "3000", "{subdomain}": "demo", "{timestamp}": _RECORDED_AT}
    succeeded = set()
    for template, methods in world.document["paths"].items():
        if "get" not in methods or template.endswith("/events"):
            continue
        for name in ("day", "day 1", "recorded", "guarded"):
            path = template.replace("{project_id}", world.ids[name])
            for parameter, value in parameters.items():
                path = path.replace(parameter, value)
            answer = world.ask("GET", path)
            if answer.status_code == 200:
                succeeded.add(template)
    # What asks Docker, Squid or the git server, and an archive that is not there.
    away = {f"{_PROJECT}/{what}" for what in ("disk-usage", "ports", "checkpoints")}
    away |= {"/api/whitelist", "/api/git/repositories", "/api/workshop/collect/{project_id}/archive"}
    reads = {path for path, methods in world.document["paths"].items() if "get" in methods}
    assert succeeded | away | {"/api/events", "/api/jobs/{job_id}/events"} == reads


def test_rows_have_whatever_can_be_documented_of_them(world: World) -> None:
    """So that the test above proves something: nothing is null in all of them."""
    shown = world.ask("GET", "/api/projects/").json()["projects"]
    always_null = {key for key in shown[0] if all(project[key] is None for project in shown)}
    assert always_null == {"diskUsage"}
    (verdict, job) = map(world.ask("GET", "/api/workshop/rehearse").json().get, ("verdict", "job"))
    assert verdict["firstLimit"] == {"what": "memory", "seats": 7}
    assert [seat["status"] for seat in job["seats"]] == ["running", "running", "deleted"]
    seat = world.ask("GET", "/api/workshop/seats").json()["seats"][0]
    assert seat["diskWarning"] and seat["extendedUntil"] and seat["claimedAt"]


def test_changes_that_need_no_docker_are_as_documented(world: World) -> None:
    day, seat, recorded = (f"/api/projects/{world.ids[name]}" for name in ("day", "day 3", "recorded"))
    changes: list[tuple[str, str, Any, int]] = [
        ("PUT", f"{day}/notes", {"notes": "Exercises"}, 200),
        ("PUT", f"{day}/group", {"group": "day"}, 200),
        ("PUT", f"{seat}/name", {"name": "day 3"}, 200),
        ("PUT", f"{seat}/name", {"name": "day"}, 400),
        ("POST", f"{day}/extend", None, 200),
        ("POST", f"{seat}/start", None, 200),
        ("POST", f"{day}/stop", {"password": "wrong-password"}, 401),
        ("POST", f"{day}/stop", "no-object", 400),
        ("POST", f"{seat}/stop", None, 503),
        ("POST", f"{seat}/ports/3000/share", None, 200),
        ("DELETE", f"{seat}/ports/3000/share", None, 200),
        ("POST", f"{day}/aliases", {"subdomain": "api", "port": 3000}, 422),
        ("POST", f"{day}/clone", {"count": 0}, 400),
        ("POST", "/api/projects/create", {"projectName": "x y", "projectType": "empty"}, 400),
        ("POST", "/api/projects/create", {"projectName": "other", "projectType": "empty"}, 503),
        ("PUT", "/api/projects/create", {}, 405),
        ("POST", "/api/session", {"token": "t" * 32}, 200),
        ("POST", "/api/session", {"token": "wrong"}, 401),
        ("DELETE", "/api/session", None, 200),
        ("POST", "/api/workshop/claim", {"name": "Max", "email": "max@example.com"}, 409),
        ("POST", "/api/workshop/claim", {"name": "Ann", "email": "ann@example.com"}, 200),
        ("POST", "/api/workshop/cards", {}, 200),
        ("POST", f"/api/workshop/seats/{world.ids['day 3']}/extend", None, 200),
        ("POST", f"/api/jobs/{world.ids['job']}/cancel", None, 409),
        ("POST", f"{recorded}/generate-documentation", None, 200),
        ("DELETE", f"{recorded}/llm-conversations/2026-01-01T00:00:00.000Z", None, 404),
        ("DELETE", f"{recorded}/llm-conversations", None, 200),
        ("GET", "/api/nowhere", None, 404),
    ]
    for method, path, body, status in changes:
        answer = world.ask(method, path, body)
        assert answer.status_code == status, (method, path, answer.text)
    stranger = {"X-Forwarded-For": "203.0.113.7", "X-Admin-Password": ""}
    assert world.ask("GET", "/api/projects/", **stranger).status_code == 401
    refused = world.ask("POST", "/api/workshop/claim", {"name": "Ann", "email": "ann@example.com"}, **stranger)
    assert refused.json()["projectName"] == "day 2"
    # Refusals of changes, with their sources, roles and ports.
    entries = world.ask("GET", "/api/audit").json()["entries"]
    assert {"port", "role"} <= {key for entry in entries for key in entry}


@pytest.fixture
def with_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An API for which Docker, Squid and the git server answer, and every playbook succeeds."""
    monkeypatch.setattr(_Follower, "run", lambda follower: setattr(follower, "available", True))
    monkeypatch.setattr(queue, "execute", lambda *_: _SUCCESSFUL)
    monkeypatch.setattr(containers_service, "_open_ports", lambda *_: {3000: True, 8082: True})
    monkeypatch.setattr(git, "open_forge", Git)
    monkeypatch.setattr(platform_health, "open_forge", Git)
    made = World(tmp_path)
    site = made.services.settings.site
    (site.state_dir / "squid").mkdir()
    (site.state_dir / "squid" / "squid.conf").write_text(Configuration.composed("@whitelist@\n", (".debian.org",)).text)
    name = site.container_name(made.ids["day"])
    monkeypatch.setattr(containers_service, "open_engine", lambda *_, **__: DockerNow(name, made.ids["day"]))
    yield made
    made.close()


def test_changes_that_succeed_are_as_documented(with_docker: World) -> None:
    world = with_docker
    day, seat, recorded = (f"/api/projects/{world.ids[name]}" for name in ("day", "day 3", "recorded"))
    of_seat = f"/api/workshop/seats/{world.ids['day 3']}"
    new = {"projectName": "new", "projectType": "empty", "password": "secret-12", "createGitRepo": True}
    asked: list[tuple[str, str, Any, int]] = [
        ("GET", f"{day}/disk-usage", None, 200),
        ("GET", f"{day}/checkpoints", None, 200),
        ("GET", f"{day}/ports", None, 200),
        ("GET", "/api/config", None, 200),
        ("GET", "/api/whitelist", None, 200),
        ("PUT", "/api/whitelist", {"domains": ["example.org"]}, 200),
        ("POST", "/api/whitelist", {"domains": ["example.org"], "group": "day"}, 200),
        ("POST", f"{recorded}/recorded-domains/whitelist", None, 200),
        ("GET", "/api/git/repositories", None, 200),
        ("POST", "/api/git/repositories", {"name": "app"}, 201),
        ("POST", "/api/projects/create", new, 201),
        ("POST", f"{day}/clone", {"count": 2}, 202),
        ("POST", f"{seat}/start", None, 200),
        ("POST", f"{seat}/stop", None, 200),
        ("PUT", f"{seat}/password", {"newPassword": "secret-12"}, 200),
        ("POST", f"{day}/checkpoint", None, 200),
        ("POST", f"{day}/reset", None, 200),
        ("POST", f"{day}/upgrade", None, 200),
        ("POST", f"{day}/aliases", {"subdomain": "other", "port": 8000}, 201),
        ("PUT", f"{day}/aliases/demo", {"port": 8000}, 200),
        ("DELETE", f"{day}/aliases/demo", None, 200),
        ("POST", f"{of_seat}/start", None, 200),
        ("POST", f"{of_seat}/checkpoint", None, 200),
        ("POST", f"{of_seat}/reset", None, 200),
        ("POST", f"/api/workshop/claims/{world.ids['day 1']}/release", None, 200),
        ("POST", "/api/workshop/rehearse", {"seats": 2}, 202),
        ("POST", "/api/workshop/teardown", None, 409),
        ("POST", "/api/workshop/collect", None, 202),
        ("POST", "/api/workspace/cleanup", None, 200),
        ("DELETE", seat, {"password": None}, 200),
        ("GET", "/api/jobs", None, 200),
        ("GET", "/api/audit", None, 200),
    ]
    for method, path, body, status in asked:
        answer = world.ask(method, path, body)
        assert answer.status_code == status, (method, path, answer.text)
    usage = world.ask("GET", f"{day}/disk-usage").json()["diskUsage"]
    assert (usage["checkpoints"], usage["checkpointBytes"], usage["percent"]) == (1, 7, 0.0)


def test_what_docker_refuses_is_as_documented(with_docker: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AtelierError(Code.ENGINE_ERROR, Message("docker.too_long", attempt="The question"))

    monkeypatch.setattr(containers_service, "open_engine", refuse)
    monkeypatch.setattr(Engines, "swarm_nodes", refuse)
    monkeypatch.setattr(Engines, "machines", refuse)
    day = f"/api/projects/{with_docker.ids['day']}"
    asked: list[tuple[str, str, Any]] = [
        ("GET", f"{day}/disk-usage", None),
        ("GET", f"{day}/checkpoints", None),
        ("POST", f"{day}/clone", {"count": 2}),
        ("POST", "/api/projects/create", {"projectName": "new", "projectType": "empty"}),
        ("GET", "/api/nodes", None),
        ("PUT", "/api/nodes/controller", {"availability": "paused"}),
        ("POST", "/api/nodes/controller/drain", None),
    ]
    assert [with_docker.ask(*each).status_code for each in asked] == [500] * len(asked)


def test_files_that_cannot_be_used_are_as_documented(with_docker: World) -> None:
    state_dir = with_docker.services.settings.site.state_dir
    (state_dir / "squid" / "squid.conf").write_bytes(b"\xff")
    (state_dir / "egress" / "workspaces.json").mkdir(parents=True)
    recordings = state_dir / "recordings" / with_docker.ids["recorded"]
    shutil.rmtree(recordings)
    recordings.symlink_to(recordings)
    recorded = f"/api/projects/{with_docker.ids['recorded']}"
    asked: list[tuple[str, str, Any]] = [
        ("GET", "/api/whitelist", None),
        ("PUT", f"{recorded}/group", {"group": "other"}),
        ("GET", f"{recorded}/recorded-domains", None),
        ("GET", f"{recorded}/llm-conversations", None),
        ("DELETE", f"{recorded}/llm-conversations", None),
        ("DELETE", f"{recorded}/llm-conversations/{_RECORDED_AT}", None),
        ("POST", f"{recorded}/generate-documentation", None),
    ]
    assert [with_docker.ask(*each).status_code for each in asked] == [500] * len(asked)


def test_a_key_too_many_or_too_few_is_told_with_its_place(world: World) -> None:
    answer = world.ask("GET", "/api/projects/").json()
    first = dict(answer["projects"][0])
    first["aliases"] = [{"subdomain": "demo"}]
    first["owner"] = first.pop("notes")
    answer["projects"][0] = first
    answer["undocumented"] = 1
    with pytest.raises(AssertionError) as told:
        world.documented.check("GET", "/api/projects", 200, "application/json", json.dumps(answer).encode())
    for words in (
        "GET /api/projects/ answered 200",
        "the answer: Additional properties are not allowed ('undocumented' was unexpected)",
        "projects[0]: Additional properties are not allowed ('owner' was unexpected)",
        "projects[0]: 'notes' is a required property",
        "projects[0].aliases[0]: 'port' is a required property",
    ):
        assert words in str(told.value)


@pytest.mark.parametrize(
    ("method", "path", "status", "kind", "body", "why"),
    [
        ("GET", "/api/limits", 418, "application/json", b"{}", "which is not documented"),
        ("GET", "/api/limits", 200, "text/html", b"<p>", "as 'text/html'; documented is application/json"),
        ("GET", "/api/nowhere", 200, "application/json", b"{}", "no such operation"),
        ("GET", "/api/nowhere", 404, "application/json", b"{}", "'code' is a required property"),
        ("PATCH", "/api/limits", 405, "application/json", b"{}", "'code' is a required property"),
    ],
)
def test_what_is_not_documented_at_all(
    world: World, method: str, path: str, status: int, kind: str, body: bytes, why: str
) -> None:
    with pytest.raises(AssertionError, match=why):
        world.documented.check(method, path, status, kind, body)


def test_no_field_of_a_body_takes_half_a_character() -> None:
    """It could not be sent back: JSON is UTF-8. Its refusal has a code of the API, for the reader's language."""
    told: dict[str, str | None] = {}
    for body in Body.__subclasses__():
        for name, field in body.model_fields.items():
            key = field.alias or name
            told[f"{body.__name__}.{name}"] = None
            try:
                body.model_validate({key: "\ud800"})
            except ValidationError as refused:
                faults = [fault for fault in refused.errors() if fault["loc"][:1] == (key,)]
                details = json.loads(bytes(validation_response(faults).body))["codes"]["details"]
                told[f"{body.__name__}.{name}"] = next(iter(details.values()))["id"]
    assert {name: code for name, code in told.items() if code in (None, "input.invalid")} == {}
    assert told["MoveProject.node"] == "input.half_character"


@pytest.mark.parametrize("code", [Code.NODE_UNAVAILABLE, Code.SERVICE_UNAVAILABLE, Code.ENGINE_ERROR])
def test_a_page_says_so_when_the_disk_use_of_a_workspace_cannot_be_measured(
    code: Code, with_docker: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page does not show a refused part, and would say that it is being measured until somebody loads it again."""

    def refuse(*_: object, **__: object) -> None:
        raise AtelierError(code, Message("docker.too_long", attempt="The question"))

    monkeypatch.setattr(containers_service, "open_engine", refuse)
    answer = with_docker.ask("GET", f"/pages/workspaces/{with_docker.ids['day']}/disk")
    assert (answer.status_code, answer.text) == (200, "Nothing to measure")
