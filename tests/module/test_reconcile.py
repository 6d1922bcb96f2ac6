"""Drift: each kind made for real, found, named and repaired; and a database that was lost altogether."""

from __future__ import annotations

import json
import socket
import sqlite3
from typing import Any

import pytest

from tests.module.installation import Installation, login
from tests.module.killing import TRIES, a_container_is_made, kill_when, secrets_are_held_back

PASSWORD = "correct horse battery"


def _repair(site: Installation) -> list[tuple[str, str]]:
    """Finds and repairs; asserts that the second time there is nothing left to do. Returns kinds and subjects."""
    run = site.play("reconcile", repair=True).succeeded()
    drift = list(run.result["drift"])
    assert run.changed == bool(drift)
    for entry in drift:
        assert entry["repaired"]
        assert entry["message"].endswith(".")
        assert entry["message"] in run.output  # a person sees it too
        assert entry["remedy"] in run.output
    again = site.play("reconcile", repair=True).succeeded()
    assert (again.changed, again.result["drift"]) == (False, [])
    return [(entry["kind"], entry["subject"]) for entry in drift]


@pytest.fixture
def made(site: Installation, small: str) -> dict[str, Any]:
    return site.create(template=small)


def test_all_that_can_differ_at_once(site: Installation, made: dict[str, Any]) -> None:
    """Gone, stopped and started behind our back; wrong, missing and left-over routes; left-over files and volumes."""
    ann, ben, cem = site.clone(source="Base", names=["Ann", "Ben", "Cem"]).succeeded().seats
    site.play("workspace_stop", workspace_name="Cem").succeeded()
    assert site.play("reconcile").succeeded().result["drift"] == []

    site.container(ann).remove(force=True)
    site.container(ben).stop()
    site.container(cem).start()
    journal = site.state / "snapshots" / "ffffffffffff.json"
    journal.write_text(json.dumps({"container": "x", "paused": True, "secrets": []}))
    volume = f"{site.name}-ffffffffffff"
    site.docker.volumes.create(volume, labels={"atelier.instance": site.name})
    routes = site.state / "gateway" / "routes.map"
    good = site.routes()
    routes.write_text(f"{made['id']} 10.0.0.1\n{ann['id']} {ann['address']}\nffffffffffff 10.0.0.2\n")

    expected = {
        ("missing_container", "Ann"),
        ("wrong_status", "Ben"),
        ("wrong_status", "Cem"),
        ("interrupted_snapshot", "ffffffffffff"),
        ("leftover_volume", volume),
    }
    rows = site.rows()
    for flags, variables in (((), {}), (("--check",), {"repair": True})):
        found = site.play("reconcile", *flags, **variables).succeeded()
        assert found.changed == bool(variables)
        drift = {(entry["kind"], entry["subject"]) for entry in found.result["drift"]}
        assert {entry for entry in drift if entry[0] != "wrong_routes"} == expected
        (wrong,) = (subject for kind, subject in drift if kind == "wrong_routes")
        assert set(wrong.split(", ")) == {made["id"], ben["id"], cem["id"], "ffffffffffff"}
        assert (site.rows(), journal.exists(), volume in site.volumes()) == (rows, True, True)

    _repair(site)
    status = {row["name"]: row["status"] for row in site.rows()}
    assert status == {"Base": "running", "Ann": "error", "Ben": "stopped", "Cem": "running"}
    assert site.routes() == good
    aliases = site.state / "gateway" / "aliases.map"
    aliases.write_text(f"ghost {made['id']}-80\n")
    (drift,) = site.play("reconcile", repair=True).succeeded().result["drift"]
    assert (drift["kind"], drift["subject"], aliases.read_text()) == ("wrong_routes", "ghost", "")
    assert not journal.exists()
    assert volume not in site.volumes()
    # Nobody's work was lost, and what is gone can be made again.
    site.clone(source="Base", names=["Ann", "Ben", "Cem"]).succeeded()
    site.is_tidy(["Base", "Ann", "Ben", "Cem"])


def test_a_gateway_that_refuses_says_so(site: Installation, made: dict[str, Any]) -> None:
    """A real socket without HAProxy: the repair fails with a message and breaks nothing."""
    (site.state / "gateway" / "routes.map").write_text("")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(site.state / "gateway" / "admin.sock"))
    # Bound and closed: what a gateway leaves that was killed. The file is repaired all the same.
    _repair(site)
    assert site.routes() == {made["id"]: made["address"]}


def test_an_interrupted_making(site: Installation, small: str) -> None:
    for _ in range(TRIES):
        started = site.start("workspace_create", workspace_name="Base", workspace_template=small)
        kill_when(started, lambda: bool(site.containers()))
        if site.row("Base")["status"] != "running":
            break
        # It was done before it could be killed.
        site.play("workspace_delete", workspace_name="Base").succeeded()
    assert _repair(site) == [("unfinished_workspace", "Base")]
    site.is_tidy([])


def test_an_interrupted_clone_with_all_that_belongs_to_it(site: Installation, made: dict[str, Any]) -> None:
    site.run_inside(made, "printf canary > /home/coder/.netrc")
    for _ in range(TRIES):
        started = site.start("workspace_clone", clone_source="Base", clone_count=3)
        with site.newest_held(4):
            kill_when(started, lambda: secrets_are_held_back(site, made) or a_container_is_made(site, made))
        if secrets_are_held_back(site, made):
            break
        # They were put back before it could be killed.
        _repair(site)
        for row in site.rows()[1:]:
            site.play("workspace_delete", workspace_id=row["id"]).succeeded()
    kinds = {kind for kind, _ in _repair(site)}
    assert {"interrupted_snapshot", "unfinished_workspace", "abandoned_batch"} <= kinds
    assert site.read(made, "/home/coder/.netrc") == b"canary"
    assert site.container(made).status == "running"
    site.is_tidy(["Base"])
    assert site.open_batches() == 0


def test_a_snapshot_that_was_left(site: Installation, made: dict[str, Any]) -> None:
    for _ in range(TRIES):
        started = site.start("workspace_clone", clone_source="Base", clone_count=3)
        kill_when(started, lambda: a_container_is_made(site, made))
        if site.snapshot_tags():
            break
        # It was done before it could be killed.
        for number in (1, 2, 3):
            site.play("workspace_delete", workspace_name=f"Base {number}").succeeded()
    assert "leftover_snapshot" in {kind for kind, _ in _repair(site)}
    assert site.snapshot_tags() == []


def test_a_container_with_a_name_of_before_is_renamed(site: Installation, made: dict[str, Any]) -> None:
    """Names of 783bbea, which contain the id, and a lost key for names. The container keeps running."""
    container = site.container(made)
    began = container.attrs["State"]["StartedAt"]
    container.rename(f"{site.name}-{made['id']}")
    (site.state / "names.key").unlink()
    (seen,) = site.task("workspace_info").succeeded().result["workspaces"]
    assert seen["status"] == "running"
    first = site.container(made)
    assert (first.id, first.attrs["State"]["StartedAt"]) == (container.id, began)

    first.rename(f"{site.name}-seat-0123456789ab")
    assert _repair(site) == [("wrong_name", f"{site.name}-seat-0123456789ab")]
    assert site.container(made).id == container.id
    site.is_tidy(["Base"])


def test_a_container_without_a_row_is_taken_in(site: Installation, made: dict[str, Any]) -> None:
    with sqlite3.connect(site.state / "registry.sqlite3") as db:
        db.execute("DELETE FROM workspaces")
    assert ("orphan_container", site.container_name(made)) in _repair(site)
    site.is_tidy(["Base"])
    assert site.row("Base")["id"] == made["id"]


def test_containers_that_are_none_of_ours_are_left_alone(site: Installation, made: dict[str, Any]) -> None:
    """Containers created by hand from a seat's image, or with foreign labels, are neither adopted nor taken for a
    seat."""
    labels = {"atelier.instance": site.name, "atelier.workspace": made["id"], "atelier.proxy_mode": "odd"}
    strangers = [
        site.docker.containers.create("atelier-test/workspace:small", name="atelier-test-stranger", labels=labels),
        site.docker.containers.create("atelier-test/workspace:small", labels={"atelier.instance": site.name}),
    ]
    try:
        assert site.play("reconcile").succeeded().result["drift"] == []
        (seen,) = site.task("workspace_info").succeeded().result["workspaces"]
        assert seen["status"] == "running"
    finally:
        for stranger in strangers:
            stranger.remove(force=True)


def test_what_somebody_works_on_is_left_alone(site: Installation, made: dict[str, Any]) -> None:
    started = site.start("workspace_clone", clone_source="Base", clone_count=4)
    while started.process.poll() is None:
        # Whatever the moment: a clone that is at work is no drift, and repairing does not get in its way.
        drift = site.play("reconcile", repair=True).succeeded().result["drift"]
        assert {entry["kind"] for entry in drift} <= {"wrong_routes"}
    assert len(started.wait().succeeded().seats) == 4
    site.is_tidy(["Base", *(f"Base {number}" for number in range(1, 5))])


def test_a_database_that_was_lost_is_made_anew_from_what_docker_knows(site: Installation) -> None:
    """With real IDEs: passwords are asked for as before, and what changed since the making is not forgotten."""
    site.create(password=PASSWORD, group="school", memory="2g", cpus="2")
    seat = site.clone(source="Base", names=["Ann"], password="password of Ann").succeeded().seats[0]
    site.create(memory="1g", cpus="1")
    site.play("workspace_stop", workspace_name="Ann").succeeded()
    before = {row["name"]: row for row in site.rows()}
    for path in site.state.glob("registry.sqlite3*"):
        path.unlink()
    drift = _repair(site)
    assert {kind for kind, _ in drift} == {"orphan_container", "wrong_routes"}
    after = {row["name"]: row for row in site.rows()}
    for name, row in before.items():
        lost = dict.fromkeys(("sequence", "last_activity", "notes", "orders", "passwords", "stop_reason", "was_cloned"))
        assert after[name] | lost == row | lost
    site.is_tidy(["Base", "Ann"])
    assert login(site.row("Base")["address"], PASSWORD)
    site.play("workspace_start", workspace_name="Ann").succeeded()
    assert login(seat["address"], "password of Ann")
    assert not login(seat["address"], PASSWORD)
    # The next ones get addresses and names that are free.
    assert [s["name"] for s in site.clone(source="Base", count=1).succeeded().seats] == ["Base 1"]
