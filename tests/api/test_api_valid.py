"""Requests that are valid by the OpenAPI document succeed: schemathesis generates the data, this file the state for it.

Each operation is asked with data that its schema allows, about things that exist. What a schema can't say (a name that
is free, one of two fields, the right password) is put in here; everything else is as it was generated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
import schemathesis
from atelier.ansible_module import parse_site
from atelier.common.models import ProxyMode, Status, Workspace
from atelier.database.workspace_store import WorkspaceStore, new_id
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig

from tests.api.running import TOKEN, Api
from tests.api.test_api_workshop import add_seats
from tests.recorded import write_conversation

ADMIN = "canary-admin-Hy5"
MOMENT = "2026-02-14T10:05:00.123Z"
_numbers = count(1)


@dataclass
class State:
    """The objects that the operations are asked about."""

    api: Api
    project: str = ""
    recorded: str = ""
    proxied: str = ""
    seats: list[str] = field(default_factory=list)
    claims: int = 0

    def path_of(self, path: str) -> dict[str, Any]:
        if "/llm-conversations" in path or "/recorded-domains" in path or "/generate-documentation" in path:
            return {"project_id": self.recorded}
        if "/squid-logs" in path:
            return {"project_id": self.proxied}
        if path.startswith("/api/workshop/"):
            return {"project_id": self.seats[0]}
        return {"project_id": self.project}


# What is said about a request before it is sent.
Prepare = Callable[[State, Case], None]


def as_it_is(state: State, case: Case) -> None:
    pass


def fresh(name: str, form: str) -> Prepare:
    """Another value each time, for what must not be in use."""

    def prepare(state: State, case: Case) -> None:
        case.body[name] = form.format(next(_numbers))

    return prepare


def a_project(state: State, case: Case) -> None:
    """A free name, a template (a clone would fetch what is at a made-up address), no password, and no machine's labels:
    a single machine has none."""
    fresh("projectName", "made-{}")(state, case)
    if case.body["projectType"] == "git-clone":
        case.body["projectType"] = "empty"
    for name in ("gitUrl", "gitUsername", "gitToken", "nodes"):
        case.body.pop(name, None)
    case.body.update(passwordProtected=False, proxyMode=None, useProxy=None)


def one_of_two(state: State, case: Case) -> None:
    case.body.pop("removePassword", None)
    case.body.update(newPassword=case.body.get("newPassword") or "another-password-1", currentPassword=None)
    opened = state.api.put(
        f"/api/projects/{state.project}/password", {"removePassword": True, "currentPassword": LAST[0]}
    )
    assert opened.status_code in (200, 400, 401)
    LAST[0] = case.body["newPassword"]


LAST = ["none-yet"]


def a_participant(state: State, case: Case) -> None:
    fresh("email", "p{}@example.com")(state, case)
    state.claims += 1
    if state.claims >= len(state.seats):
        for seat in state.seats:
            state.api.post(f"/api/workshop/claims/{seat}/release", headers={"X-Admin-Password": ADMIN})
        state.claims = 0


def a_token(state: State, case: Case) -> None:
    case.body = {**case.body, "token": TOKEN, "workshopPassword": None}


def a_claimed_seat(state: State, case: Case) -> None:
    body = {"name": "Max", "email": f"q{next(_numbers)}@example.com"}
    seat = state.api.post("/api/workshop/claim", body).json()["projectName"]
    case.path_parameters["project_id"] = state.api.instance.row(seat)["id"]


def a_conversation(state: State, case: Case) -> None:
    record(state)
    case.path_parameters["timestamp"] = MOMENT


def its_own_alias(state: State, case: Case) -> None:
    case.path_parameters["subdomain"] = f"demo-{next(_numbers)}"
    body = {"subdomain": case.path_parameters["subdomain"], "port": 3000}
    assert state.api.post(f"/api/projects/{state.project}/aliases", body).status_code == 201


def a_copy(state: State, case: Case) -> None:
    case.path_parameters["project_id"] = state.api.create(f"gone-{next(_numbers)}")["id"]


def a_job(state: State, case: Case) -> None:
    case.path_parameters["job_id"] = state.api.jobs()[0]["id"]


def open_seats(state: State, case: Case) -> None:
    case.body = {
        **(case.body if isinstance(case.body, dict) else {}),
        "projectIds": state.seats[:2],
        "newPasswords": False,
    }


def one_clone(state: State, case: Case) -> None:
    case.body.update(count=1, nodes=None)


def a_free_port(state: State, case: Case) -> None:
    """One that no alias guards."""
    case.path_parameters["port"] = 20000 + next(_numbers)


def domains(state: State, case: Case) -> None:
    case.body["domains"] = ["api.anthropic.com", ".github.com"]


@dataclass(frozen=True)
class Ask:
    """The number of requests and their content. Operations that make containers take seconds and get few."""

    times: int = 8
    prepare: Prepare = as_it_is
    statuses: tuple[int, ...] = (200, 201, 202)


CHEAP, SLOW = Ask(), Ask(1)
# Documented refusals of an installation without that part; with it: tests/e2e/test_egress.py and test_api_git.py.
NOT_INSTALLED = Ask(3, statuses=(503,))
SPECIAL: dict[str, Ask] = {
    "POST /api/projects/create": Ask(3, a_project),
    "DELETE /api/projects/{project_id}": Ask(1, a_copy),
    "POST /api/projects/{project_id}/start": Ask(2),
    "POST /api/projects/{project_id}/stop": SLOW,
    "PUT /api/projects/{project_id}/password": Ask(2, one_of_two),
    "POST /api/projects/{project_id}/clone": Ask(1, one_clone),
    "POST /api/projects/{project_id}/checkpoint": SLOW,
    "POST /api/projects/{project_id}/reset": SLOW,
    "POST /api/projects/{project_id}/upgrade": SLOW,
    "POST /api/projects/{project_id}/aliases": Ask(2, fresh("subdomain", "fresh-{}")),
    "PUT /api/projects/{project_id}/aliases/{subdomain}": Ask(2, its_own_alias),
    "DELETE /api/projects/{project_id}/aliases/{subdomain}": Ask(1, its_own_alias),
    "PUT /api/projects/{project_id}/name": Ask(8, fresh("name", "Name {}")),
    "GET /api/jobs/{job_id}": Ask(3, a_job),
    "POST /api/jobs/{job_id}/cancel": Ask(1, a_job, (409,)),  # it has ended
    "POST /api/session": Ask(6, a_token),
    "POST /api/workshop/claim": Ask(8, a_participant),
    "POST /api/workshop/claims/{project_id}/release": Ask(3, a_claimed_seat),
    "POST /api/workshop/cards": Ask(6, open_seats),
    "DELETE /api/projects/{project_id}/llm-conversations/{timestamp}": Ask(3, a_conversation),
    "POST /api/workspace/cleanup": SLOW,
    # Of an installation on one machine; on several: tests/cluster.
    "POST /api/projects/{project_id}/move": Ask(1, statuses=(409,)),
    "PUT /api/nodes/{name}": Ask(3, statuses=(404,)),
    "POST /api/nodes/{name}/drain": Ask(1, statuses=(404,)),
    "POST /api/projects/{project_id}/ports/{port}/share": Ask(6, a_free_port),
    "PUT /api/whitelist": Ask(3, domains, (503,)),
    "POST /api/whitelist": Ask(3, domains, (503,)),
    **dict.fromkeys(
        (
            "GET /api/whitelist",
            "GET /api/git/repositories",
            "POST /api/git/repositories",
            "POST /api/projects/{project_id}/recorded-domains/whitelist",
        ),
        NOT_INSTALLED,
    ),
}
# Jobs of a minute each, with their own tests (test_api_workshop_teardown.py, test_api_rehearsal.py, ...).
ELSEWHERE = {
    "POST /api/projects/upgrade",
    "POST /api/workshop/collect",
    "GET /api/workshop/collect/{project_id}/archive",
    "POST /api/workshop/teardown",
    "POST /api/workshop/rehearse",
    *(f"POST /api/workshop/seats/{{project_id}}/{what}" for what in ("start", "checkpoint", "reset", "password")),
}


def record(state: State) -> None:
    write_conversation(state.api.instance.state / "recordings" / state.recorded, MOMENT)


@pytest.fixture
def state(own: Callable[..., Api], light: str) -> State:
    api = own(workshop={"admin_password": ADMIN}, image_prefix=light).start()
    state = State(api)
    state.project = api.create("asked-about")["id"]
    state.seats = add_seats(api, 8)
    site = parse_site(api.instance.site())
    with WorkspaceStore(site.state_dir, site.networks, site.quotas) as store:
        for name, mode in (("recorded", ProxyMode.LOGGING), ("proxied", ProxyMode.SECURITY)):
            (made,) = store.reserve([Workspace(new_id(), name, "empty")])
            store.update(made.id, status=Status.STOPPED)
            with store.transaction() as db:
                db.execute("UPDATE workspaces SET proxy_mode = ? WHERE id = ?", (mode, made.id))
            setattr(state, name, made.id)
    record(state)
    return state


def ask(state: State, operation: Any, wanted: Ask) -> Counter[str]:
    """Asks as often as wanted; returns what came back instead of the wanted statuses."""
    refused: Counter[str] = Counter()
    label = operation.label
    path = state.path_of(operation.path) if "{project_id}" in operation.path else {}

    @settings(
        max_examples=wanted.times,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(path_parameters=path))
    def send(case: Case) -> None:
        wanted.prepare(state, case)
        base_url = f"http://127.0.0.1:{state.api.port}"
        answer = case.call(base_url=base_url, headers={"X-Admin-Password": ADMIN}, timeout=120)
        kind = answer.headers.get("content-type", [""])[0]
        state.api.hold_answer(case.method, case.formatted_path, answer.status_code, kind, answer.content)
        if answer.status_code not in wanted.statuses:
            refused[f"{label} {case.query} {str(case.body)[:300]}: {answer.status_code} {answer.text[:300]}"] += 1

    send()
    return refused


@pytest.mark.timeout(400, func_only=True)
def test_valid_data_succeeds(state: State) -> None:
    # No pattern can say which of Unicode's characters are printable.
    text = GenerationConfig(codec="ascii", allow_x00=False)
    config = SchemathesisConfig(projects=ProjectsConfig(default=ProjectConfig(generation=text)))
    schema = schemathesis.openapi.from_dict(state.api.get("/api/openapi.json").json(), config=config)
    refused: Counter[str] = Counter()
    operations = [found.ok() for found in schema.get_all_operations()]
    operations = [found for found in operations if found.label not in ELSEWHERE and not found.path.endswith("/events")]
    assert len(operations) > 45
    assert SPECIAL.keys() <= {operation.label for operation in operations}
    for operation in operations:
        refused += ask(state, operation, SPECIAL.get(operation.label, CHEAP))
    assert not refused, "\n".join(refused)
    assert "Traceback" not in state.api.read_log(), state.api.read_log()[-4000:]
