"""Many seats from one workspace: names, passwords, isolation, failures of one and of all."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.module.installation import Installation, asks_for_password, is_healthy, login, occupied
from tests.module.small_image import SMALL
from tests.waiting import eventually

PASSWORD = "correct horse battery"


@pytest.fixture
def source(site: Installation) -> dict[str, Any]:
    """A prepared workspace: a file in the project, one in the home folder, a program installed by hand."""
    made = site.create()
    site.run_inside(
        made,
        "echo lesson > /workspace/lesson.md; mkdir -p ~/.local/bin;"
        " printf '#!/bin/sh\\necho tool\\n' > ~/.local/bin/tool; chmod +x ~/.local/bin/tool",
    )
    return made


@pytest.fixture
def light(site: Installation, small: str) -> dict[str, Any]:
    """A workspace without a real IDE, for what is not about the IDE: it starts in a moment."""
    return site.create(template=small)


def _names(seats: list[dict[str, Any]]) -> list[str]:
    return [seat["name"] for seat in seats]


def test_seats_of_a_running_source(site: Installation, source: dict[str, Any]) -> None:
    run = site.clone(source="Base", count=3).succeeded()
    assert run.changed
    assert _names(run.seats) == ["Base 1", "Base 2", "Base 3"]
    for seat in run.seats:
        assert (seat["status"], seat["error"], seat["changed"], seat["password"]) == ("running", None, True, None)
        assert seat["cloned_from"] == source["id"]
        assert not asks_for_password(seat["address"])
        assert site.run_inside(seat, "cat /workspace/lesson.md; tool; git -C /workspace status --short") == (
            "lesson\ntool\n?? lesson.md"
        )
    # Each has its own files; the source has none of theirs.
    first, second, _ = run.seats
    site.run_inside(first, "echo mine > /workspace/lesson.md; echo new > /workspace/new")
    assert site.run_inside(second, "cat /workspace/lesson.md; ls /workspace") == "lesson\nREADME.md\nlesson.md"
    assert site.run_inside(source, "cat /workspace/lesson.md") == "lesson"
    assert site.container(source).status == "running"
    site.is_tidy(["Base", "Base 1", "Base 2", "Base 3"])
    assert site.open_batches() == 0
    # The next ones skip what is taken, the one in the middle too.
    site.play("workspace_delete", workspace_name="Base 2").succeeded()
    assert _names(site.clone(source="Base", count=2).succeeded().seats) == ["Base 2", "Base 4"]


def test_the_last_seat_takes_the_snapshots_layers_along(site: Installation, light: dict[str, Any]) -> None:
    assert site.container(light).status == "running"
    site.clone(source_id=light["id"], count=2).succeeded()
    assert len(site.snapshots()) == 1
    site.play("workspace_delete", workspace_name="Base 1").succeeded()
    assert len(site.snapshots()) == 1
    site.play("workspace_delete", workspace_name="Base 2").succeeded()
    assert site.snapshots() == []


def test_a_stopped_source_stays_stopped(site: Installation, source: dict[str, Any]) -> None:
    site.play("workspace_stop", workspace_name="Base").succeeded()
    run = site.clone(source="Base", names=["Only one"]).succeeded()
    assert site.run_inside(run.seats[0], "cat /workspace/lesson.md; tool") == "lesson\ntool"
    assert site.container(source).status == "exited"
    assert site.row("Base")["status"] == "stopped"
    site.is_tidy(["Base", "Only one"])


def test_names_are_made_once_and_started_when_stopped(site: Installation, light: dict[str, Any]) -> None:
    names = ["Ann", "Ben"]
    first = site.clone(source="Base", names=names).succeeded()
    again = site.clone(source="Base", names=names).succeeded()
    assert not again.changed
    assert [(s["id"], s["changed"]) for s in again.seats] == [(s["id"], False) for s in first.seats]
    site.play("workspace_stop", workspace_name="Ben").succeeded()
    told = site.clone("--check", source="Base", names=[*names, "Cem"]).succeeded()
    assert [(s["name"], s["changed"]) for s in told.seats] == [("Ann", False), ("Ben", True), ("Cem", True)]
    assert told.seats[2]["id"] is None
    assert len(site.rows()) == 3
    third = site.clone(source="Base", names=[*names, "Cem"]).succeeded()
    assert [(s["name"], s["changed"]) for s in third.seats] == [("Ann", False), ("Ben", True), ("Cem", True)]
    assert all(is_healthy(seat["address"]) for seat in third.seats)
    # A seat that was removed behind our back is made again from the source, under its old id and address.
    site.container(third.seats[0]).remove(force=True)
    fourth = site.clone(source="Base", names=[*names, "Cem"]).succeeded()
    assert [s["changed"] for s in fourth.seats] == [True, False, False]
    assert fourth.seats[0]["address"] == first.seats[0]["address"]
    assert is_healthy(first.seats[0]["address"])
    site.is_tidy(["Base", "Ann", "Ben", "Cem"])


def test_check_mode_of_a_count_tells_and_makes_nothing(site: Installation, light: dict[str, Any]) -> None:
    rows = site.rows()
    run = site.clone("--check", "--diff", source="Base", count=3, generate_passwords=True).succeeded()
    assert run.changed
    assert [(s["name"], s["id"], s["status"], s["password"]) for s in run.seats] == [
        (f"Base {number}", None, "running", None) for number in (1, 2, 3)
    ]
    assert run.result["diff"]["after"] == {"changed_seats": ["Base 1", "Base 2", "Base 3"]}
    assert site.rows() == rows
    assert len(site.containers()) == 1
    site.container(light).remove(force=True)
    site.clone("--check", source="Base", count=1).failed("SNAPSHOT_FAILED", "source")


def test_one_password_for_all_and_one_for_each(site: Installation, source: dict[str, Any]) -> None:
    seats = site.clone(source="Base", count=2, password=PASSWORD).succeeded().seats
    assert [login(seat["address"], PASSWORD) for seat in seats] == [True, True]
    each = site.task(
        "clone",
        source="Base",
        names=["Ann", "Ben", "Cem"],
        passwords={"Ann": "password of Ann", "Ben": "password of Ben"},
        generate_passwords=True,
    ).succeeded()
    ann, ben, cem = each.seats
    assert login(ann["address"], "password of Ann")
    assert login(ben["address"], "password of Ben")
    assert not login(ben["address"], "password of Ann")
    assert login(cem["address"], cem["password"])


def test_a_sheet_keeps_the_passwords_over_runs(site: Installation, source: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "seats.csv"
    order = {"source": "Base", "names": ["Ann", "Ben"], "generate_passwords": True, "csv": str(path)}
    first = site.clone(**order).succeeded()
    assert path.stat().st_mode & 0o777 == 0o600
    noted = {row["name"]: row for row in csv.DictReader(path.read_text().splitlines())}
    for seat in first.seats:
        row = noted[seat["name"]]
        assert (row["url"], row["state"], row["password"]) == (seat["url"], "running", seat["password"])
        assert login(seat["address"], row["password"])
    before = path.read_bytes()
    again = site.clone(**order).succeeded()
    assert not again.changed
    assert path.read_bytes() == before
    # A seat that is made again gets the password that is on the printed card.
    site.container(first.seats[0]).remove(force=True)
    site.clone(**order).succeeded()
    assert path.read_bytes() == before
    assert login(first.seats[0]["address"], noted["Ann"]["password"])


def test_a_seat_that_fails_fails_alone(site: Installation, light: dict[str, Any], network: str) -> None:
    """The second seat's address is taken by a stranger, so Docker can't start it."""
    with occupied(site, network, light["address"], offset=2):
        run = site.clone(source="Base", count=3)
        assert run.returncode == 2, run.output
        assert run.result["failed_seats"] == ["Base 2"]
        good, bad, other = run.seats
        assert (good["status"], bad["status"], other["status"]) == ("running", "error", "running")
        assert "address" in bad["error"].lower()
        assert is_healthy(good["address"])
        assert is_healthy(other["address"])
        assert len(site.containers()) == 3  # nothing half-made is kept
        (seen,) = site.task("workspace_info", name="Base 2").succeeded().result["workspaces"]
        assert (seen["status"], seen["error"]) == ("error", bad["error"])
    again = site.clone(source="Base", names=["Base 1", "Base 2", "Base 3"]).succeeded()
    assert [seat["changed"] for seat in again.seats] == [False, True, False]
    site.is_tidy(["Base", "Base 1", "Base 2", "Base 3"])


def test_when_all_fail_nothing_is_left(site: Installation, light: dict[str, Any], network: str) -> None:
    before = site.row("Base")
    with occupied(site, network, light["address"], offset=1):
        result = site.clone(source="Base", count=1)
    assert result.returncode != 0
    assert result.result["error_code"] == "CONTAINER_CREATE_FAILED"
    site.is_tidy(["Base"])
    assert site.row("Base") == before
    assert site.open_batches() == 0
    assert is_healthy(light["address"])


def test_a_clone_of_a_clone(site: Installation, source: dict[str, Any]) -> None:
    seat = site.clone(source="Base", names=["Ann"]).succeeded().seats[0]
    site.run_inside(seat, "echo more > /workspace/more")
    grandchild = site.clone(source="Ann", count=1).succeeded().seats[0]
    assert grandchild["name"] == "Ann 1"
    assert grandchild["cloned_from"] == seat["id"]
    # It stands alone: nothing of what it came from is needed any more.
    site.play("workspace_delete", workspace_name="Ann").succeeded()
    site.play("workspace_delete", workspace_name="Base").succeeded()
    assert site.run_inside(grandchild, "cat /workspace/lesson.md /workspace/more; tool") == "lesson\nmore\ntool"
    site.is_tidy(["Ann 1"])


def test_a_snapshot_is_flattened_when_it_is_told_to(site: Installation, light: dict[str, Any]) -> None:
    site.run_inside(light, "echo lesson > /workspace/lesson.md")
    seat = site.task("clone", source="Base", names=["Flat"], flatten_at=1).succeeded().seats[0]
    assert site.run_inside(seat, "cat /workspace/lesson.md; echo $HOME") == "lesson\n/home/coder"
    (image,) = site.snapshots()
    assert len(image.attrs["RootFS"]["Layers"]) == 1
    assert image.id != site.container(light).attrs["Image"]
    template = site.docker.images.get(SMALL).attrs["Config"]
    for key in ("Env", "Entrypoint", "Cmd", "User", "WorkingDir", "ExposedPorts"):
        assert image.attrs["Config"].get(key) == template.get(key)


@pytest.fixture
def deep_template(site: Installation, tmp_path: Path) -> Iterator[str]:
    """A template of so many layers that one more clone of a clone would pass Docker's limit of 125."""
    base = site.docker.images.get("atelier-test/workspace:empty")
    lines = [f"FROM {base.id}", "USER coder"]
    for number in range(121 - len(base.attrs["RootFS"]["Layers"])):
        (tmp_path / f"f{number}").write_text(str(number))
        lines.append(f"COPY f{number} /workspace/layers/")
    (tmp_path / "Dockerfile").write_text("\n".join(lines))
    site.docker.images.build(path=str(tmp_path), tag="atelier-test/workspace:deep", rm=True)
    yield "deep"
    site.docker.images.remove("atelier-test/workspace:deep", force=True)


def test_a_genuine_chain_near_dockers_limit(site: Installation, deep_template: str) -> None:
    made = site.create(template=deep_template)
    assert len(site.docker.images.get("atelier-test/workspace:deep").attrs["RootFS"]["Layers"]) == 121
    seat = site.clone(source="Base", count=1).succeeded().seats[0]
    image = site.docker.images.get(site.container(seat).attrs["Image"])
    assert len(image.attrs["RootFS"]["Layers"]) == 1
    assert site.run_inside(seat, "id -un; echo $LANG") == "coder\nC.UTF-8"
    count = "ls /workspace/layers | wc -l"
    assert site.run_inside(seat, count) == site.run_inside(made, count)


def test_clones_of_one_source_at_once(site: Installation, light: dict[str, Any]) -> None:
    started = [
        site.start("workspace_clone", clone_source="Base", clone_count=2),
        site.start("workspace_clone", clone_source="Base", clone_count=2),
        site.start("workspace_clone", clone_source="Base", clone_names=["Ann"]),
    ]
    runs = [run.wait().succeeded() for run in started]
    assert sorted(name for run in runs for name in _names(run.seats)) == ["Ann", *(f"Base {n}" for n in (1, 2, 3, 4))]
    assert all(is_healthy(seat["address"]) for run in runs for seat in run.seats)
    assert site.container(light).status == "running"
    site.is_tidy(["Base", "Ann", "Base 1", "Base 2", "Base 3", "Base 4"])


def test_two_runs_for_the_same_names_at_once(site: Installation, light: dict[str, Any]) -> None:
    """One run creates them. The other finds them, or reports that a run is active; it never creates them twice."""
    started = [site.start("workspace_clone", clone_source="Base", clone_names=["Ann", "Ben"]) for _ in range(2)]
    runs = [run.wait() for run in started]
    assert 0 in [run.returncode for run in runs]
    for run in runs:
        if run.returncode:
            assert run.result["error_code"] in ("WORKSPACE_BUSY", "PROJECT_EXISTS")
    assert not site.clone(source="Base", names=["Ann", "Ben"]).succeeded().changed
    site.is_tidy(["Base", "Ann", "Ben"])


def test_a_seat_that_is_stopped_while_its_clone_runs(site: Installation, light: dict[str, Any]) -> None:
    started = site.start("workspace_clone", clone_source="Base", clone_names=["Ann", "Ben", "Cem"])
    eventually(lambda: any(row["name"] == "Ann" for row in site.rows()), "the seat's row")
    stop = eventually(lambda: _stopped(site, "Ann"), "the seat to be made and then stopped")
    started.wait().succeeded()
    assert stop.result["workspace"]["status"] == "stopped"
    assert site.container(site.row("Ann")).status == "exited"
    assert is_healthy(site.row("Ben")["address"])
    site.is_tidy(["Base", "Ann", "Ben", "Cem"])


def _stopped(site: Installation, name: str) -> Any:
    run = site.play("workspace_stop", workspace_name=name)
    if run.returncode:
        assert run.result["error_code"] == "WORKSPACE_BUSY", run.output
    return None if run.returncode else run


def test_a_seat_that_is_deleted_while_its_clone_runs(site: Installation, light: dict[str, Any]) -> None:
    started = site.start("workspace_clone", clone_source="Base", clone_names=["Ann", "Ben"])
    eventually(lambda: any(row["name"] == "Ann" for row in site.rows()), "the seat's row")
    site.play("workspace_delete", workspace_name="Ann").succeeded()
    started.wait().succeeded()
    site.is_tidy(["Base", "Ben"])
