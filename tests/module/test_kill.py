"""kill -9 at any moment: the database opens, nothing is half there twice, and the same playbook finishes the job."""

from __future__ import annotations

import csv
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from atelier.common.passwords import verify_password

from tests.module.installation import Installation, Started, is_healthy, login
from tests.module.killing import (
    TRIES,
    a_container_is_made,
    a_seat_is_up,
    kill_when,
    progress,
    secrets_are_held_back,
)

SECRETS = {
    "/home/coder/.git-credentials": b"https://user:canary-one@host\n",
    "/home/coder/.bash_history": b"export TOKEN=canary-two\n",
    "/workspace/.git/config": b"[remote]\n\turl = https://canary-three@host/x\n",
}
# How long after a step that can be seen from outside a kill may come, in seconds: for what lies between two of them.
AFTERWARDS = 0.2
PASSWORD, OTHER = "correct horse battery", "staple wagon 42"


@pytest.fixture
def source(site: Installation, small: str) -> dict[str, Any]:
    made = site.create(template=small)
    for path, content in SECRETS.items():
        script = f"mkdir -p {Path(path).parent}; printf '{content.decode()}' > {path}; chmod 600 {path}"
        assert site.container(made).exec_run(["sh", "-c", script]).exit_code == 0
    return made


def _is_consistent(site: Installation) -> None:
    """Asserts what holds at any moment, also right after a kill: each container has a row, and each row that is running
    runs at its address. (Reading the rows checks the file's integrity.)"""
    rows = site.rows()
    containers = {container.name: container for container in site.containers()}
    assert containers.keys() <= {site.container_name(row) for row in site.rows()}
    for row in rows:
        if row["status"] == "running":
            container = containers.get(site.container_name(row))
            # A source that is being copied is paused.
            assert container is not None and container.status in ("running", "paused"), row
            (network,) = container.attrs["NetworkSettings"]["Networks"].values()
            assert network["IPAMConfig"]["IPv4Address"] == row["address"]


def _is_unharmed(site: Installation, source: dict[str, Any]) -> None:
    container = site.container(source)
    assert container.status == "running"
    for path, content in SECRETS.items():
        assert site.read(source, path) == content
        assert container.exec_run(["stat", "-c", "%a %u", path]).output.split() == [b"600", b"1000"]


def _agrees(site: Installation) -> None:
    assert site.play("reconcile").succeeded().result["drift"] == []


def _kill_soon_after(started: Started, dice: random.Random, condition: Callable[[], bool]) -> bool:
    """Kills the playbook a random moment after the condition holds. Returns whether it still ran."""

    def then() -> bool:
        if not condition():
            return False
        time.sleep(dice.uniform(0, AFTERWARDS))
        return True

    return kill_when(started, then)


def test_clones_by_name_killed_at_random(site: Installation, source: dict[str, Any], tmp_path: Path) -> None:
    """Repeated kills of the same request until one run completes, without cleanup in between."""
    dice, met = random.Random(20), 0  # noqa: S311 - moments, not secrets
    sheet = tmp_path / "seats.csv"
    names = [f"Seat {number}" for number in range(1, 9)]
    order = {"clone_source": "Base", "clone_generate_passwords": True, "clone_csv": str(sheet)}
    for seats in range(1, 9):
        # From round to round one more is asked for, so that every kill has work to meet.
        done = 3 * (1 + seats)
        step = dice.randrange(progress(site) + 1, done)
        started = site.start("workspace_clone", clone_names=names[:seats], **order)
        ran = _kill_soon_after(started, dice, lambda step=step: progress(site) >= step)  # type: ignore[misc]
        _is_consistent(site)
        met += ran and progress(site) < done
    assert met >= 4, f"{met} of 8 kills met a clone that was not done"
    run = site.play("workspace_clone", clone_names=names, **order).succeeded()
    assert [seat["name"] for seat in run.seats] == names
    assert all(seat["status"] == "running" and is_healthy(seat["address"]) for seat in run.seats)
    site.is_tidy(["Base", *names])
    _is_unharmed(site, source)
    _agrees(site)
    # The sheet has the password that each seat really asks for.
    noted = {row["name"]: row["password"] for row in csv.DictReader(sheet.open())}
    for name in names:
        row = site.row(name)
        assert verify_password(row["password_hash"], noted[name])
        assert row["password_hash"].encode() in site.read(row, "/etc/code-server/config.yaml")
    assert not site.play("workspace_clone", clone_names=names, **order).succeeded().changed


def test_clones_by_count_killed_at_random(site: Installation, source: dict[str, Any]) -> None:
    """Each order is killed once and given again: there are then as many seats as were asked for, never twice."""
    dice, met = random.Random(21), 0  # noqa: S311 - moments, not secrets
    expected = 1
    for _ in range(5):
        step = 3 * expected + dice.randrange(1, 9)
        started = site.start("workspace_clone", clone_source="Base", clone_count=3, clone_password=PASSWORD)
        _kill_soon_after(started, dice, lambda step=step: progress(site) >= step)  # type: ignore[misc]
        _is_consistent(site)
        was_done = len(site.rows()) == expected + 3 and site.open_batches() == 0
        met += not was_done
        run = site.clone(source="Base", count=3, password=PASSWORD).succeeded()
        expected += 6 if was_done else 3
        assert len(run.seats) == 3
        assert len(site.rows()) == expected
    assert met >= 2, f"{met} of 5 kills met a clone that was not done"
    assert {row["status"] for row in site.rows()} == {"running"}
    site.is_tidy([row["name"] for row in site.rows()])
    _is_unharmed(site, source)
    _agrees(site)


def _snapshot_has_begun(site: Installation, source: dict[str, Any]) -> bool:
    return (site.state / "snapshots" / f"{source['id']}.json").exists()


def _snapshot_is_tagged(site: Installation, source: dict[str, Any]) -> bool:
    return bool(site.snapshot_tags())


MOMENTS = [_snapshot_has_begun, secrets_are_held_back, _snapshot_is_tagged, a_container_is_made, a_seat_is_up]


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__.strip("_"))
def test_clones_killed_at_the_worst_moments(
    site: Installation, source: dict[str, Any], moment: Callable[[Installation, dict[str, Any]], bool]
) -> None:
    started = site.start("workspace_clone", clone_source="Base", clone_count=4)
    with site.newest_held(5):
        assert kill_when(started, lambda: moment(site, source))
    _is_consistent(site)
    # Somebody who only starts the source finds it running again, with all that is its own.
    site.play("workspace_start", workspace_name="Base").succeeded()
    _is_unharmed(site, source)
    run = site.clone(source="Base", count=4).succeeded()
    assert [seat["name"] for seat in run.seats] == ["Base 1", "Base 2", "Base 3", "Base 4"]
    site.is_tidy(["Base", "Base 1", "Base 2", "Base 3", "Base 4"])
    _is_unharmed(site, source)
    assert site.read(run.seats[0], "/home/coder/.git-credentials") == b""
    _agrees(site)


def test_half_a_journal_goes_with_the_next_snapshot(site: Installation, source: dict[str, Any]) -> None:
    """It holds secrets, and its writer was killed before it had its name."""
    half = site.state / "snapshots" / f".{source['id']}.json.x7f3"
    half.parent.mkdir(mode=0o700, exist_ok=True)
    half.write_text("half of a secr")
    site.clone(source="Base", count=1).succeeded()
    assert not half.exists()


def test_what_reconcile_makes_of_a_killed_clone(site: Installation, source: dict[str, Any]) -> None:
    """A repair instead of another run: incomplete objects are removed, running ones stay."""
    started = site.start("workspace_clone", clone_source="Base", clone_count=6)
    with site.newest_held(7):
        assert kill_when(started, lambda: a_seat_is_up(site, source))
    up = [row["name"] for row in site.rows() if row["status"] == "running"]
    site.play("reconcile", repair=True).succeeded()
    site.is_tidy(up)
    _is_unharmed(site, source)
    _agrees(site)
    # The order is over: the next one of the same size is a new one.
    run = site.clone(source="Base", count=6).succeeded()
    assert not run.result["resumed"]
    assert len(site.rows()) == len(up) + 6


def test_an_interrupted_order_some_of_whose_seats_were_deleted(site: Installation, source: dict[str, Any]) -> None:
    started = site.start("workspace_clone", clone_source="Base", clone_count=4)
    with site.newest_held(5):
        assert kill_when(started, lambda: a_container_is_made(site, source))
    site.play("workspace_delete", workspace_name="Base 2").succeeded()
    run = site.clone(source="Base", count=4).succeeded()
    assert run.result["resumed"]
    assert sorted(seat["name"] for seat in run.seats) == ["Base 1", "Base 2", "Base 3", "Base 4"]
    site.is_tidy(["Base", "Base 1", "Base 2", "Base 3", "Base 4"])


def _a_row_is_there(site: Installation) -> bool:
    return bool(site.rows())


def _a_container_is_there(site: Installation) -> bool:
    return bool(site.containers())


def _a_container_runs(site: Installation) -> bool:
    return any(container.status == "running" for container in site.containers())


@pytest.mark.parametrize("moment", [_a_row_is_there, _a_container_is_there, _a_container_runs])
def test_a_create_that_is_killed(site: Installation, small: str, moment: Callable[[Installation], bool]) -> None:
    order = {"name": "Base", "template": small, "generate_password": True}
    for _ in range(TRIES):
        started = site.start(site.write_task("workspace", **order))
        ran = kill_when(started, lambda: moment(site))
        _is_consistent(site)
        if ran and site.row("Base")["status"] == "creating":
            break
        # It was done before it could be killed.
        site.play("workspace_delete", workspace_name="Base").succeeded()
    else:
        pytest.fail("no kill met a workspace that was being made")
    run = site.task("workspace", **order).succeeded()
    assert run.result["workspace"]["status"] == "running"
    # The killed run returned its password to nobody, so a new one must be returned.
    row = site.row("Base")
    assert verify_password(row["password_hash"], run.result["workspace"]["password"])
    assert row["password_hash"].encode() in site.read(row, "/etc/code-server/config.yaml")
    site.is_tidy(["Base"])
    _agrees(site)


def test_a_password_change_that_is_killed(site: Installation) -> None:
    """The container has the new password before the row has: a kill in between leaves both."""
    made = site.create(password=PASSWORD)
    dice, met = random.Random(22), 0  # noqa: S311 - moments, not secrets
    old, new = PASSWORD, OTHER
    for _ in range(3):
        config, row = site.read(made, "/etc/code-server/config.yaml"), site.row("Base")
        started = site.start("workspace_password", workspace_name="Base", workspace_password=new)
        ran = _kill_soon_after(
            started,
            dice,
            lambda config=config: site.read(made, "/etc/code-server/config.yaml") != config,  # type: ignore[misc]
        )
        met += ran and site.row("Base")["password_hash"] == row["password_hash"]
        site.play("workspace_password", workspace_name="Base", workspace_password=new).succeeded()
        assert login(made["address"], new)
        assert not login(made["address"], old)
        old, new = new, old
    assert met, "no kill met a password that was being changed"
    site.is_tidy(["Base"])


def test_a_delete_that_is_killed(site: Installation, small: str) -> None:
    def container_is_gone() -> bool:
        return not site.containers()

    def row_is_gone() -> bool:
        return not site.rows()

    for condition in (container_is_gone, row_is_gone):
        for _ in range(TRIES):
            site.create(template=small)
            ran = kill_when(site.start("workspace_delete", workspace_name="Base"), condition)
            site.play("workspace_delete", workspace_name="Base").succeeded()
            site.is_tidy([])
            if ran:
                break
        else:
            pytest.fail(f"no kill met a deletion when {condition.__name__}")
    _agrees(site)
