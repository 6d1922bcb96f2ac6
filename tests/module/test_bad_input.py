"""Bad input or a broken machine gives a code, the field and the remedy; nothing incomplete stays, nothing is lost."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.module.installation import Installation, Run, is_healthy

SHORT, LONG = "pass-7!", "long-password-" + "x" * 37


@pytest.fixture(scope="module")
def base(shared: Installation) -> dict[str, Any]:
    made = shared.create()
    shared.run_inside(made, "echo precious > /workspace/precious")
    return made


@pytest.fixture(autouse=True)
def nothing_changes(shared: Installation, base: dict[str, Any]) -> Iterator[None]:
    """After each refusal everything is as it was: rows, containers, volumes, routes, images and the files inside."""
    before = _everything(shared, base)
    yield
    assert _everything(shared, base) == before
    shared.is_tidy(["Base"])
    assert is_healthy(base["address"])


def _everything(shared: Installation, base: dict[str, Any]) -> tuple[object, ...]:
    states = [(c.id, c.attrs["State"]["StartedAt"], c.attrs["State"]["Paused"]) for c in shared.containers()]
    batches = shared.open_batches()
    precious = shared.run_inside(base, "cat /workspace/precious")
    return shared.rows(), states, shared.volumes(), shared.routes(), shared.snapshots(), batches, precious


# What is asked for, and what the refusal says: code, field, the remedy's words.
CREATE: list[tuple[dict[str, Any], str, str, str]] = [
    ({"template": "cobol"}, "INVALID_PROJECT_TYPE", "template", "Known templates: empty, java-spring, nodejs-react,"),
    ({"template": "../../etc"}, "INVALID_PROJECT_TYPE", "template", "Use the name of a template"),
    ({"name": "no spaces"}, "INVALID_PROJECT_NAME", "name", "3 to 50 letters"),
    ({"name": "ab"}, "INVALID_PROJECT_NAME", "name", "3 to 50 letters"),
    ({"name": "a/b/c"}, "INVALID_PROJECT_NAME", "name", "hyphens or underscores"),
    ({"name": "$(reboot)"}, "INVALID_PROJECT_NAME", "name", "hyphens or underscores"),
    ({"memory": "3g"}, "VALIDATION_ERROR", "memory", "Use one of: 1g, 2g, 4g, 8g, 16g."),
    ({"cpus": "3"}, "VALIDATION_ERROR", "cpus", "Use one of: 1, 2, 4, 8."),
    ({"group": "a;b"}, "VALIDATION_ERROR", "group", "1 to 50"),
    ({"notes": "x" * 10_241}, "VALIDATION_ERROR", "notes", "10 KB"),
    ({"proxy_mode": "logging"}, "VALIDATION_ERROR", "proxy_mode", "Use one of: none."),
    ({"proxy_mode": "security"}, "VALIDATION_ERROR", "proxy_mode", "Use one of: none."),
    ({"name": "Base", "template": "cobol"}, "VALIDATION_ERROR", "template", "Create another workspace"),
    ({"seats_csv": "/no/such/folder/seats.csv"}, "VALIDATION_ERROR", "seats_csv", "a folder that exists"),
    ({"password": "long enough", "remove_password": True}, "VALIDATION_ERROR", "remove_password", "Give one"),
    ({"name": "Nobody", "must_exist": True}, "PROJECT_NOT_FOUND", "name", "workspace_info"),
    ({"id": "0123456789ab", "state": "started"}, "PROJECT_NOT_FOUND", "id", "workspace_info"),
    ({"id": "not an id"}, "VALIDATION_ERROR", "id", "12 lower-case"),
]
CLONE: list[tuple[dict[str, Any], str, str, str]] = [
    ({"count": 0}, "VALIDATION_ERROR", "count", "1 to 50"),
    ({"count": 51}, "VALIDATION_ERROR", "count", "1 to 50"),
    ({"count": 1, "names": ["Ann"]}, "VALIDATION_ERROR", "count", "Give one."),
    ({}, "VALIDATION_ERROR", "count", "Give one."),
    ({"names": ["Ann", "Ann"]}, "VALIDATION_ERROR", "names", "its own"),
    ({"names": ["Ann", "B/n"]}, "INVALID_PROJECT_NAME", "names", "digits"),
    ({"names": ["Base"]}, "PROJECT_EXISTS", "names", "Choose another name"),
    ({"names": ["Ann"], "passwords": {"Zoe": "long enough"}}, "VALIDATION_ERROR", "passwords", "in names"),
    ({"source": "Nobody", "count": 1}, "PROJECT_NOT_FOUND", "source", "workspace_info"),
    ({"source_id": "0123456789ab", "count": 1}, "PROJECT_NOT_FOUND", "source", "workspace_info"),
    ({"ids": ["0123456789ab"]}, "PROJECT_NOT_FOUND", "ids", "workspace_info"),
    ({"count": 1, "seats_csv": "/no/such/folder/seats.csv"}, "VALIDATION_ERROR", "seats_csv", "a folder that exists"),
]


@pytest.mark.parametrize(
    ("module", "table", "usual"),
    [("workspace", CREATE, {"name": "Another"}), ("clone", CLONE, {"source": "Base"})],
    ids=["workspace", "clone"],
)
def test_values(
    shared: Installation,
    module: str,
    table: list[tuple[dict[str, Any], str, str, str]],
    usual: dict[str, str],
) -> None:
    results = shared.failures(module, [usual | values for values, *_ in table])
    for result, (values, code, field, remedy) in zip(results, table, strict=True):
        assert (result.get("error_code"), result["details"]["field"]) == (code, field), (values, result)
        assert remedy in result["details"]["remedy"], values
        assert result["msg"].endswith(result["details"]["remedy"])


@pytest.mark.parametrize("password", [SHORT, LONG])
def test_a_bad_password_is_refused_and_never_shown(shared: Installation, password: str) -> None:
    for run in (
        shared.play("workspace_create", "-vvv", workspace_name="Another", workspace_password=password),
        shared.clone("-vvv", source="Base", count=2, password=password),
        shared.play("workspace_password", "-vvv", workspace_name="Base", workspace_password=password),
    ):
        result = run.failed("INVALID_PASSWORD", "password")
        assert f"has {len(password)} characters. Use 8 to 50." in result["msg"]
        assert password not in run.output
        assert password not in str(run.results)


def test_a_bad_password_of_one_seat_names_the_seat(shared: Installation) -> None:
    run = shared.task("clone", "-vvv", source="Base", names=["Ann", "Ben"], passwords={"Ben": SHORT})
    run.failed("INVALID_PASSWORD", "passwords[Ben]")
    assert SHORT not in run.output


def test_quotas(shared: Installation) -> None:
    result = shared.play(
        "workspace_clone", clone_source="Base", clone_count=10, atelier_max_workspaces_per_user=4
    ).failed("WORKSPACE_LIMIT_EXCEEDED", "site.max_workspaces_per_user")
    assert result["msg"].startswith("Cannot create 10 clones: only 3 workspace slots remaining (limit: 4)")
    assert "atelier_max_workspaces_per_user" in result["msg"]
    assert (result["details"]["limit"], result["details"]["used"], result["details"]["requested"]) == (4, 1, 10)
    shared.play("workspace_create", "--check", workspace_name="Another", atelier_max_concurrent_workspaces=1).failed(
        "CONCURRENT_LIMIT_REACHED", "site.max_concurrent_workspaces"
    )
    shared.play("workspace_create", workspace_name="Another", atelier_memory_per_workspace_mb=1024).failed(
        "VALIDATION_ERROR", "memory"
    )


def test_a_low_ceiling_hinders_nobody_from_stopping(shared: Installation) -> None:
    run = shared.play("workspace_stop", "--check", workspace_name="Base", atelier_memory_per_workspace_mb=1024)
    assert run.succeeded().changed


def test_a_source_that_is_still_being_made(shared: Installation, base: dict[str, Any]) -> None:
    shared.set_row("Base", status="creating")
    try:
        result = shared.clone(source="Base", count=1).failed("WORKSPACE_BUSY", "source")
        assert "still being created" in result["msg"]
        assert len(shared.rows()) == 1
    finally:
        shared.set_row("Base", status="running")


def test_an_engine_that_does_not_answer(shared: Installation, tmp_path: Path) -> None:
    for url in (f"unix://{tmp_path}/no.sock", "tcp://127.0.0.1:1"):
        for run in (
            shared.play("workspace_create", workspace_name="Another", atelier_engine_url=url),
            shared.play("workspace_clone", clone_source="Base", clone_count=2, atelier_engine_url=url),
        ):
            result = run.failed("SERVICE_UNAVAILABLE", "site.engine_url")
            assert f"The Docker Engine at {url} does not answer" in result["msg"]
            assert "Traceback" not in run.output


def test_a_network_that_is_not_there(shared: Installation) -> None:
    for run in (
        shared.play("workspace_create", workspace_name="Another", atelier_network_open_name="no-such-network"),
        shared.play("workspace_clone", clone_source="Base", clone_count=2, atelier_network_open_name="no-such-network"),
    ):
        assert run.returncode != 0
        assert run.result["error_code"] == "CONTAINER_CREATE_FAILED"
        assert "no-such-network" in run.result["msg"]
        assert "./atelier up creates missing networks" in run.result["details"]["remedy"]


def test_no_address_left(shared: Installation) -> None:
    """The first 16 addresses of a range are not for workspaces, and this one has no more."""
    order = {"clone_source": "Base", "clone_count": 5, "atelier_network_open_subnet": "172.26.0.0/28"}
    shared.play("workspace_clone", **order).failed("ADDRESSES_EXHAUSTED", "site.networks")


def test_settings_that_are_no_network(shared: Installation) -> None:
    run = shared.play("workspace_create", workspace_name="Another", atelier_network_open_subnet="172.26.0.0/99")
    run.failed("VALIDATION_ERROR", "site.networks.none")


def test_a_database_that_is_damaged_is_kept_as_it_is(shared: Installation, tmp_path: Path) -> None:
    path = tmp_path / "registry.sqlite3"
    path.write_bytes(b"not a database " * 1000)
    digest = hashlib.sha256(path.read_bytes()).digest()
    run: Run = shared.play("workspace_create", workspace_name="Another", atelier_state_dir=str(tmp_path))
    run.failed("REGISTRY_ERROR", "site.state_dir")
    assert hashlib.sha256(path.read_bytes()).digest() == digest


def test_a_name_that_is_taken_is_refused_in_check_mode_too(shared: Installation) -> None:
    other = shared.create("Other")
    try:
        for flags in (["--check"], []):
            shared.task("workspace", *flags, id=other["id"], name="Base").failed("PROJECT_EXISTS", "name")
    finally:
        shared.play("workspace_delete", workspace_name="Other").succeeded()
