"""Checkpoints and resets: the origin, what stays the same, what is kept, and kill -9 in between."""

from __future__ import annotations

import random
import re
import time
from typing import Any

import pytest
from docker.errors import NotFound

from tests.module.installation import Installation, is_healthy
from tests.module.killing import TRIES, kill_when

KEPT = re.compile(r".+-kept-\d{8}t\d{12}z")


@pytest.fixture
def base(site: Installation, small: str) -> dict[str, Any]:
    made = site.create(template=small)
    write(site, made, "prepared")
    return made


def write(site: Installation, workspace: dict[str, Any], text: str) -> None:
    site.run_inside(workspace, f"echo {text} > /workspace/work")


def work(site: Installation, workspace: dict[str, Any]) -> str:
    return site.read(workspace, "/workspace/work").decode().strip()


def kept(site: Installation) -> list[Any]:
    """The containers that resets moved aside, oldest first."""
    return sorted((found for found in site.containers() if KEPT.fullmatch(found.name)), key=lambda found: found.name)


def checkpoints(site: Installation) -> list[str]:
    return sorted(tag for tag in site.snapshot_tags() if "/checkpoint:" in tag)


def take_checkpoints(site: Installation, name: str, count: int) -> None:
    site.tasks("workspace_checkpoint", [{"name": name}] * count).succeeded()


def reset(site: Installation, name: str, **more: Any) -> dict[str, Any]:
    return site.play("workspace_reset", workspace_name=name, **more).succeeded().result


def test_a_seat_begins_again(site: Installation, base: dict[str, Any]) -> None:
    (seat,) = site.clone(source="Base", names=["Seat"], password="correct horse battery").succeeded().seats
    before = site.row("Seat")
    config = site.read(seat, "/etc/code-server/config.yaml")
    write(site, seat, "mine")
    write(site, base, "prepared-later")

    # From its base as it is now; what it had is there for the helper, stopped.
    outcome = reset(site, "Seat")
    assert (outcome["origin"], work(site, seat)) == ("base", "prepared-later")
    (former,) = kept(site)
    assert (former.name, former.status) == (outcome["kept"], "exited")
    site_file = former.get_archive("/workspace/work")
    assert b"mine" in b"".join(site_file[0])
    assert site.row("Seat") == {**before, "orders": site.row("Seat")["orders"]}  # which counts starts
    assert site.read(seat, "/etc/code-server/config.yaml") == config
    assert is_healthy(seat["address"])
    assert site.play("reconcile").succeeded().result["drift"] == []

    # From its own last checkpoint, of which five are kept; also when it is stopped.
    take_checkpoints(site, "Seat", 5)
    write(site, seat, "step-5")
    taken = site.play("workspace_checkpoint", workspace_name="Seat").succeeded().result["checkpoints"]
    assert [entry["tag"] for entry in taken] == checkpoints(site)
    assert len(taken) == 5
    # A run that is repeated takes its checkpoint once.
    ordered = {"workspace_name": "Seat", "checkpoint_id": "5e7a0b"}
    once, again = (site.play("workspace_checkpoint", **ordered).succeeded() for _ in range(2))
    assert (once.changed, again.changed) == (True, False)
    assert once.result["checkpoints"] == again.result["checkpoints"]
    write(site, seat, "broken")
    site.play("workspace_stop", workspace_name="Seat").succeeded()
    outcome = reset(site, "Seat", reset_id="one")
    assert (outcome["origin"], work(site, seat), site.row("Seat")["status"]) == ("checkpoint", "step-5", "running")
    # The same order again is done already; another one, whose time for keeping is over, sweeps.
    assert (reset(site, "Seat", reset_id="one")["changed"], len(kept(site))) == (False, 2)
    check = site.play("workspace_reset", "--check", workspace_name="Seat").succeeded()
    assert (check.changed, len(kept(site))) == (True, 2)
    reset(site, "Seat", reset_id="two", atelier_reset_keep_hours=0)
    assert kept(site) == []
    assert site.play("reconcile").succeeded().result["drift"] == []

    # A clone of it bears nothing of all that, and the base's checkpoint counts for its clones.
    site.play("workspace_checkpoint", workspace_name="Base").succeeded()
    write(site, base, "broken")
    (other,) = site.clone(source="Base", names=["Other"]).succeeded().seats
    assert work(site, other) == "broken"
    assert (reset(site, "Other")["origin"], work(site, other)) == ("base", "prepared-later")
    # Whose base is gone begins again from what it was made from.
    reset(site, "Seat")
    site.play("workspace_delete", workspace_name="Base").succeeded()
    write(site, other, "mine")
    assert (reset(site, "Other")["origin"], work(site, other)) == ("original_image", "prepared-later")

    for name in ("Seat", "Other"):
        site.play("workspace_delete", workspace_name=name).succeeded()
    site.is_tidy([])


def test_the_image_of_a_stopped_seat_outlives_its_checkpoint(site: Installation, base: dict[str, Any]) -> None:
    """Docker removes the image of a stopped container with the image's last name, and then nobody can copy the seat."""
    take = {"workspace_name": "Base"}
    site.play("workspace_checkpoint", **take).succeeded()
    reset(site, "Base", atelier_reset_keep_hours=0)
    site.play("workspace_stop", **take).succeeded()
    take_checkpoints(site, "Base", 6)
    assert site.play("reconcile").succeeded().result["drift"] == []
    site.play("workspace_delete", **take).succeeded()
    site.is_tidy([])


def test_a_clock_that_jumped(site: Installation, base: dict[str, Any]) -> None:
    """Forward and back again: what was taken in between does not come before what is taken now."""
    take_checkpoints(site, "Base", 5)
    newest = checkpoints(site)[-1]
    later = f"{newest.rpartition('-')[0]}-20991231t235959999999z"
    site.docker.images.get(newest).tag(later)
    site.docker.images.remove(newest)
    write(site, base, "now")
    taken = site.play("workspace_checkpoint", workspace_name="Base").succeeded().result["checkpoints"]
    assert [entry["tag"] for entry in taken[-2:]] == checkpoints(site)[-2:]
    assert taken[-2]["tag"] == later
    assert len(taken) == 5
    write(site, base, "broken")
    assert (reset(site, "Base")["origin"], work(site, base)) == ("checkpoint", "now")
    # Of two containers that were moved aside the later one is the last, too.
    (former,) = kept(site)
    former.rename(re.sub(r"kept-.*", "kept-20991231t235959999999z", former.name))
    write(site, base, "later")
    assert reset(site, "Base", reset_id="again")["kept"] == kept(site)[-1].name
    # By the wall clock both are not old yet, by the uptime they have been kept for no time.
    assert len(kept(site)) == 2
    site.play("workspace_delete", workspace_name="Base").succeeded()
    site.is_tidy([])


def test_refusals(site: Installation, base: dict[str, Any]) -> None:
    for playbook in ("workspace_reset", "workspace_checkpoint"):
        site.play(playbook, workspace_name="Nobody").failed("PROJECT_NOT_FOUND", "name")
    odd = site.play("workspace_checkpoint", workspace_name="Base", checkpoint_id="No/Word")
    odd.failed("VALIDATION_ERROR", "run_id")
    write(site, base, "mine")
    site.play("workspace_stop", workspace_name="Base").succeeded()
    refused = site.play("workspace_reset", workspace_name="Base", atelier_max_concurrent_workspaces=0)
    refused.failed("CONCURRENT_LIMIT_REACHED", "site.max_concurrent_workspaces")
    assert (work(site, base), site.row("Base")["status"]) == ("mine", "stopped")
    site.is_tidy(["Base"])


def test_killed_in_the_middle(site: Installation, base: dict[str, Any]) -> None:
    """Wherever it is killed: no work is lost, reconcile has no false alarm, and running it again finishes it."""
    (seat,) = site.clone(source="Base", names=["Seat"]).succeeded().seats
    dice, met = random.Random(7), 0  # noqa: S311 - moments, not secrets
    for number in range(4 + TRIES):
        # On a busy machine all four may come too late; then more, at once.
        if number >= 4 and met:
            break
        write(site, seat, f"work-{number}")
        started = site.start("workspace_reset", workspace_name="Seat")
        later = dice.uniform(0, 0.1 * number) if number < 4 else 0
        ran = kill_when(started, lambda later=later: new_one_is_there(site) and time.sleep(later) is None)  # type: ignore[misc]
        met += ran and new_one_is_there(site)
        if number % 2:
            site.play("reconcile", repair=True).succeeded()
            assert site.play("reconcile").succeeded().result["drift"] == []
            site.play("workspace_start", workspace_name="Seat").succeeded()
        else:
            reset(site, "Seat")
            assert work(site, seat) == "prepared"
        assert is_healthy(seat["address"])
        assert f"work-{number}" in all_work(site, seat)
    assert met, "no kill met a reset that was not done"
    # At the one moment in which there is no container in its place.
    old = site.container(seat)
    old.stop()
    old.rename(f"{site.container_name(seat)}-kept-20260101t000000000000z")
    site.docker.containers.create(old.image, name=f"{site.container_name(seat)}-new", labels=old.labels)
    drift = site.play("reconcile", repair=True).succeeded().result["drift"]
    assert ("interrupted_reset", "Seat") in {(entry["kind"], entry["subject"]) for entry in drift}
    site.play("workspace_start", workspace_name="Seat").succeeded()
    site.play("workspace_delete", workspace_name="Seat").succeeded()
    site.is_tidy(["Base"])


def new_one_is_there(site: Installation) -> bool:
    """Whether the container that a reset makes is there and not yet in its place."""
    return any(container.name.endswith("-new") for container in site.containers())


def all_work(site: Installation, seat: dict[str, Any]) -> set[str]:
    """The content of the file in the seat's container and in all kept ones."""
    found = set()
    for container in site.containers():
        if container.name.startswith(site.container_name(seat)):
            try:
                stream, _ = container.get_archive("/workspace/work")
            except NotFound:
                continue
            found |= set(re.findall(r"work-\d+", b"".join(stream).decode(errors="replace")))
    return found
