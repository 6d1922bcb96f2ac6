"""The HTTP contract against the running API; the tables are in contract.py."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.api.contract import (
    CHANGES,
    DONE,
    ID,
    NOT_INSTALLED,
    NOT_PROXIED,
    PASSWORD,
    PROJECT,
    READS,
    WRONG_METHODS,
    matches,
)
from tests.api.running import Api, is_error
from tests.waiting import eventually


@pytest.fixture(scope="module")
def secret(api: Api) -> Iterator[dict[str, Any]]:
    """A workspace with a password."""
    made = api.create("with-password", passwordProtected=True, password=PASSWORD)
    yield made
    api.delete(f"/api/projects/{made['id']}", {"password": PASSWORD})


def test_reads(api: Api, base: dict[str, Any]) -> None:
    job = api.jobs()[0]["id"]
    for path, shape in READS:
        answer = api.get(path.format(id=base["id"], job=job))
        assert answer.status_code == 200, f"{path}: {answer.text}"
        assert answer.headers["content-type"] == "application/json"
        matches(answer.json(), shape, path)


def test_changes(api: Api, base: dict[str, Any]) -> None:
    before = {key: value for key, value in api.project(base["id"]).items() if key not in ("container", "notes")}
    for method, path, body, status, shape in CHANGES:
        answer = api.send(method, f"/api/projects/{base['id']}{path}", body)
        assert answer.status_code == status, f"{method} {path}: {answer.text}"
        matches(answer.json(), shape, f"{method} {path}")
    after = api.project(base["id"])
    assert after["notes"] == "Exercises 1-3.\nThen: ü, 日本, 🙂."
    assert {key: value for key, value in after.items() if key in before} == before


def test_create_list_and_delete(api: Api) -> None:
    answer = api.post(
        "/api/projects/create",
        {
            "projectName": "my-awesome_project1",
            "projectType": "empty",
            "passwordProtected": True,
            "password": PASSWORD,
            "createGitRepo": True,
            "proxyMode": "none",
            "memoryLimit": "1g",
            "cpuCores": 1,
            "group": "workshop 2026",
            "notes": "n",
            "unknownKey": [1],
        },
    )
    assert answer.status_code == 201, answer.text
    matches(answer.json(), {"success": True, "project": PROJECT, "password": PASSWORD, "warnings": [str]}, "create")
    made = answer.json()["project"]
    expected = {"name": "my-awesome_project1", "type": "empty", "status": "running", "passwordProtected": True}
    expected |= {"hasGitRepo": False, "memoryLimit": "1g", "cpuCores": "1", "group": "workshop 2026", "notes": "n"}
    assert {key: made[key] for key in expected} == expected
    assert made in api.get("/api/projects/").json()["projects"]
    assert "workshop 2026" in api.get("/api/projects/groups").json()["groups"]
    deleted = api.delete(f"/api/projects/{made['id']}", {"password": PASSWORD})
    assert deleted.status_code == 200
    assert deleted.json() == {"success": True, "message": "Project deleted successfully", "projectId": made["id"]}
    is_error(api.get(f"/api/projects/{made['id']}"), 404, "PROJECT_NOT_FOUND")
    assert made["id"] not in [project["id"] for project in api.get("/api/projects/").json()["projects"]]


def test_create_without_waiting(api: Api) -> None:
    answer = api.post(
        "/api/projects/create",
        {"projectName": "asked-for", "projectType": "empty"},
        headers={"Prefer": "respond-async, wait=10"},
    )
    assert answer.status_code == 202, answer.text
    project = answer.json()["project"]
    matches(answer.json(), {"success": True, "project": PROJECT}, "create")
    assert project["status"] == "creating"
    assert "password" not in answer.json()
    job = api.ended(answer.headers["location"].removeprefix("/api/jobs/"))
    assert (job["state"], job["operation"], job["projectIds"]) == ("successful", "create", [project["id"]])
    assert job["progress"] == {"done": 1, "total": 1}
    assert job["seats"] == [
        {"projectId": project["id"], "projectName": "asked-for", "status": "running", "error": None, "warnings": []}
    ]
    assert api.status(project["id"]) == "running"
    assert api.delete(f"/api/projects/{project['id']}").status_code == 200


def test_clone(api: Api, base: dict[str, Any]) -> None:
    answer = api.post(f"/api/projects/{base['id']}/clone", {"count": 2, "password": "optional-student-password"})
    assert answer.status_code == 202, answer.text
    body = answer.json()
    seat = {"projectId": ID, "projectName": str, "status": "creating"}
    shape = {"sourceProjectId": base["id"], "sourceProjectName": base["name"], "clones": [seat], "totalCount": 2}
    matches(body, {"success": True, "message": f'Cloning 2 workspaces from "{base["name"]}"', **shape}, "clone")
    assert [clone["projectName"] for clone in body["clones"]] == ["base-of-all 1", "base-of-all 2"]
    job = api.ended(body["jobId"])
    assert (job["state"], job["progress"]) == ("successful", {"done": 2, "total": 2}), job
    for clone in body["clones"]:
        project = api.project(clone["projectId"])
        assert (project["status"], project["passwordProtected"], project["clonedFrom"]) == ("running", True, base["id"])
        assert (project["group"], project["memoryLimit"], project["notes"]) == ("school", "2g", "")
        path = f"/api/projects/{clone['projectId']}"
        is_error(api.delete(path), 401, "INVALID_WORKSPACE_PASSWORD")
        assert api.delete(path, {"password": "optional-student-password"}).status_code == 200


def test_older_boolean_for_the_proxy(api: Api) -> None:
    """true asks for the logging proxy, which this installation has no network for; false asks for none."""
    body = {"projectName": "with-proxy", "projectType": "empty", "useProxy": True}
    is_error(api.post("/api/projects/create", body), 400, "VALIDATION_ERROR", "proxyMode")
    is_error(api.post("/api/projects/create", {**body, "useProxy": "yes"}), 400, "VALIDATION_ERROR", "useProxy")


# --- The error table ------------------------------------------------------------------------------------------------


def test_bad_names_types_and_passwords_have_codes_of_their_own(api: Api, base: dict[str, Any]) -> None:
    good = {"projectName": "good-name", "projectType": "empty"}
    create = "/api/projects/create"
    is_error(api.post(create, {**good, "projectName": "a b"}), 400, "INVALID_PROJECT_NAME", "projectName")
    is_error(api.post(create, {**good, "projectType": "cobol"}), 400, "INVALID_PROJECT_TYPE", "projectType")
    is_error(api.post(create, {**good, "projectType": "../x"}), 400, "INVALID_PROJECT_TYPE", "projectType")
    short = {**good, "passwordProtected": True, "password": "short"}
    is_error(api.post(create, short), 400, "INVALID_PASSWORD", "password")
    missing = {**good, "passwordProtected": True}
    is_error(api.post(create, missing), 400, "INVALID_PASSWORD", "password")
    is_error(api.post(create, {**good, "projectName": base["name"]}), 400, "PROJECT_EXISTS", "projectName")


def test_several_bad_fields_are_named_together(api: Api) -> None:
    """Also where one fault is in the text and another is one of this installation."""
    body = {"projectName": "a", "projectType": "empty", "passwordProtected": True, "password": "short"}
    fault = is_error(api.post("/api/projects/create", body), 400, "VALIDATION_ERROR", "projectName", "password")
    assert fault["error"] == "Validation failed"
    body = {"projectName": "a", "projectType": "cobol", "memoryLimit": "3g", "cpuCores": "x", "proxyMode": "y"}
    fields = ("projectName", "projectType", "memoryLimit", "cpuCores", "proxyMode")
    is_error(api.post("/api/projects/create", body), 400, "VALIDATION_ERROR", *fields)


def test_wrong_workspace_password(api: Api, secret: dict[str, Any]) -> None:
    path = f"/api/projects/{secret['id']}"
    for answer in (
        api.post(f"{path}/stop"),
        api.post(f"{path}/stop", {}),
        api.post(f"{path}/stop", {"password": "wrong-password"}),
        api.delete(path),
        api.delete(path, {"password": ""}),
        api.post(f"{path}/start", {"password": "wrong-password"}),
        api.put(f"{path}/password", {"newPassword": "another-password"}),
        api.put(f"{path}/password", {"currentPassword": "wrong-password", "removePassword": True}),
    ):
        fault = is_error(answer, 401, "INVALID_WORKSPACE_PASSWORD")
        assert fault["error"] == "Invalid password for password-protected workspace"
    assert api.status(secret["id"]) == "running"
    assert api.post(f"{path}/start").status_code == 200


def test_password_change_wants_exactly_one_of_two(api: Api, base: dict[str, Any]) -> None:
    path = f"/api/projects/{base['id']}/password"
    for body in (
        {},
        {"newPassword": "long-enough-1", "removePassword": True},
        {"removePassword": False},
        {"newPassword": None, "removePassword": None},
    ):
        is_error(api.put(path, body), 400, "VALIDATION_ERROR", "newPassword")
    is_error(api.put(path, {"newPassword": "short"}), 400, "INVALID_PASSWORD", "newPassword")
    is_error(api.put(path, {"newPassword": "x" * 51}), 400, "INVALID_PASSWORD", "newPassword")


def test_limits(own: Callable[..., Api]) -> None:
    """One workspace may run, two may be had: create, start and clone are refused, each in its way."""
    api = own(max_workspaces_per_user=2, max_concurrent_workspaces=1, memory_per_workspace_mb=2048).start()
    body = {"projectName": "one", "projectType": "empty"}
    answer = api.post("/api/projects/create", {**body, "memoryLimit": "4g", "cpuCores": "1"})
    is_error(answer, 400, "VALIDATION_ERROR", "memoryLimit")
    first = api.create("one")
    is_error(api.post("/api/projects/create", {**body, "projectName": "two"}), 409, "CONCURRENT_LIMIT_REACHED")
    refused = is_error(api.post(f"/api/projects/{first['id']}/clone", {"count": 1}), 400, "CONCURRENT_LIMIT_REACHED")
    assert refused["error"] == "Failed to clone project"
    assert api.post(f"/api/projects/{first['id']}/stop").status_code == 200
    api.create("two")
    is_error(api.post(f"/api/projects/{first['id']}/start"), 409, "CONCURRENT_LIMIT_REACHED")
    is_error(api.post("/api/projects/create", {**body, "projectName": "three"}), 409, "WORKSPACE_LIMIT_EXCEEDED")
    refused = is_error(api.post(f"/api/projects/{first['id']}/clone", {"count": 10}), 400, "WORKSPACE_LIMIT_EXCEEDED")
    assert refused["error"] == "Failed to clone project"
    assert refused["message"] == "Cannot create 10 clones: only 0 workspace slots remaining (limit: 2)"
    assert [project["name"] for project in api.get("/api/projects/").json()["projects"]] == ["one", "two"]
    assert all(job["state"] == "successful" for job in api.jobs())


def test_clone_refusals(api: Api, base: dict[str, Any]) -> None:
    path = f"/api/projects/{base['id']}/clone"
    for count in (0, 51, -1, "5", 5.5, True, None, [5], {}, 10**30):
        fault = is_error(api.post(path, {"count": count}), 400, "VALIDATION_ERROR", "count")
        assert fault["error"] == "Failed to clone project", count
    fault = is_error(api.post(path, {"count": 1, "password": "short"}), 400, "INVALID_PASSWORD", "password")
    assert fault["error"] == "Failed to clone project"
    is_error(api.post("/api/projects/abc123def456/clone", {"count": 1}), 404, "PROJECT_NOT_FOUND")
    seat, job = api.begin("still-creating")
    with api.instance.held(seat):
        fault = is_error(api.post(f"/api/projects/{seat}/clone", {"count": 1}), 400)
        assert "still being created" in fault["message"]
    api.ended(job)
    api.delete(f"/api/projects/{seat}")


def test_cleanup_drops_what_has_no_container(api: Api) -> None:
    lost, kept = api.create("lost"), api.create("kept")
    api.instance.lose(lost)
    eventually(lambda: api.status(lost["id"]) == "error", "the loss shows")
    answer = api.post("/api/workspace/cleanup")
    matches(answer.json(), {**DONE, "count": 1}, "cleanup")
    is_error(api.get(f"/api/projects/{lost['id']}"), 404, "PROJECT_NOT_FOUND")
    assert api.status(kept["id"]) == "running"
    assert api.instance.volume_name(lost) not in api.instance.volumes()
    assert lost["id"] not in api.instance.routes()
    assert api.post("/api/workspace/cleanup").json()["count"] == 0
    api.delete(f"/api/projects/{kept['id']}")


def test_what_is_not_installed_says_so(api: Api, base: dict[str, Any]) -> None:
    for method, path in NOT_INSTALLED:
        fault = is_error(api.send(method, path.format(id=base["id"])), 503, "SERVICE_UNAVAILABLE")
        assert "not part of this installation" in fault["error"], path


def test_unknown_paths_and_methods(api: Api, base: dict[str, Any]) -> None:
    for path in ("/api", "/api/", "/api/nothing", "/api/projects/x/y/z", "/apiprojects", "/api/health/"):
        is_error(api.get(path), 404, "NOT_FOUND")
    is_error(api.post("/api/nothing", {}), 404, "NOT_FOUND")
    for method, path, allowed in WRONG_METHODS:
        answer = api.send(method, path.format(id=base["id"]))
        is_error(answer, 405, "METHOD_NOT_ALLOWED")
        assert answer.headers["allow"] == allowed, path


def test_unknown_projects_and_jobs(api: Api) -> None:
    unknown = "/api/projects/abc123def456"
    for method, path, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("POST", "/start", None),
        ("POST", "/stop", None),
        ("PUT", "/password", {"newPassword": "long-enough-1"}),
        ("POST", "/clone", {"count": 1}),
        ("GET", "/disk-usage", None),
        ("GET", "/notes", None),
        ("PUT", "/notes", {"notes": ""}),
        ("PUT", "/name", {"name": "x"}),
        ("PUT", "/group", {"group": "x"}),
    ):
        fault = is_error(api.send(method, unknown + path, body), 404, "PROJECT_NOT_FOUND", "projectId")
        assert fault["error"] == "Project not found"
    for method, path in (("GET", ""), ("POST", "/cancel"), ("GET", "/events")):
        is_error(api.send(method, f"/api/jobs/abc123def456{path}"), 404, "NOT_FOUND")


@pytest.mark.parametrize(("method", "path"), NOT_PROXIED)
def test_what_only_proxied_workspaces_have(api: Api, base: dict[str, Any], method: str, path: str) -> None:
    for id in (base["id"], "abc123def456"):
        fault = is_error(api.send(method, f"/api/projects/{id}{path}"), 404, "PROJECT_NOT_FOUND", "projectId")
        kind = "using proxy" if path == "/squid-logs" else "recorded"
        assert fault["message"].endswith(f"Workspace not found or not {kind}")


def test_a_whitelist_without_squid(api: Api) -> None:
    is_error(api.get("/api/whitelist"), 503, "SERVICE_UNAVAILABLE")
    for change in (api.put, api.post):
        is_error(change("/api/whitelist", {"domains": ["python.org"]}), 503, "SERVICE_UNAVAILABLE")
    for bad in ("com", "*.python.org", "10.0.0.1", "a b.org", "python.org\nhttp_access allow all", "x" * 64 + ".org"):
        fault = is_error(api.put("/api/whitelist", {"domains": ["python.org", bad]}), 400, "VALIDATION_ERROR")
        assert "domains[1]" in fault["details"]


def test_metrics(api: Api) -> None:
    answer = api.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert re.search(r'^atelier_workspaces\{status="running"\} \d', answer.text, re.MULTILINE)
    assert re.search(r"^atelier_docker_up 1\.0$", answer.text, re.MULTILINE)
