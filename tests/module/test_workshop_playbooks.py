"""A whole workshop by its playbooks, as people run them."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from atelier.common.passwords import verify_password

from tests.module.installation import Installation, Run, is_healthy, login, occupied
from tests.waiting import eventually

SEATS = 3
NAMES = ["Course", "Course 1", "Course 2", "Course 3"]


def _workshop(site: Installation, playbook: str = "workshop", *flags: str, **variables: Any) -> Run:
    return site.play(playbook, *flags, workshop_base="Course", workshop_seats=SEATS, **variables)


def _sheet(site: Installation) -> dict[str, dict[str, str]]:
    with (site.state / "workshop-course.csv").open(newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_from_nothing_to_a_workshop_and_back(site: Installation) -> None:
    told = _workshop(site, "workshop", "--check")
    assert not site.state.exists()
    assert told.output

    _workshop(site).succeeded()
    site.is_tidy(NAMES)
    sheet = _sheet(site)
    assert list(sheet) == NAMES
    assert (site.state / "workshop-course.csv").stat().st_mode & 0o777 == 0o600
    for name, entry in sheet.items():
        row = site.row(name)
        assert (entry["state"], entry["url"]) == ("running", f"http://{row['id']}.localhost/")
        assert login(row["address"], entry["password"])
        assert (row["group_name"], row["memory"], row["cpus"]) == ("workshop", "2g", "2")

    again = _workshop(site).succeeded()
    assert not any(entry["result"].get("changed") for entry in again.results)
    assert _sheet(site) == sheet

    # What was stopped or removed comes back, with the password on the printed card.
    site.play("workspace_stop", workspace_name="Course 2").succeeded()
    site.play("workspace_delete", workspace_name="Course 3").succeeded()
    _workshop(site).succeeded()
    site.is_tidy(NAMES)
    assert {name: entry["password"] for name, entry in _sheet(site).items()} == {
        name: entry["password"] for name, entry in sheet.items()
    }
    assert login(site.row("Course 3")["address"], sheet["Course 3"]["password"])

    # Nothing is torn down that was not collected.
    for fault in _workshop(site, "workshop_teardown", confirm=True).failed("NOT_COLLECTED", "ids")["details"][
        "missing"
    ]:
        assert fault in NAMES
    # Tearing down asks; without a terminal nothing is removed, and it does not wait.
    refused = _workshop(site, "workshop_teardown", collected="ignore")
    assert refused.returncode != 0
    assert "confirm=true" in refused.output
    site.is_tidy(NAMES)
    _workshop(site, "workshop_teardown", confirm=True, collected="ignore").succeeded()
    site.is_tidy([])
    assert not (site.state / "workshop-course.csv").exists()
    _workshop(site, "workshop_teardown", confirm=True).succeeded()


@pytest.mark.parametrize("seats_running", [0, 1])
def test_a_workshop_that_is_killed(site: Installation, small: str, seats_running: int) -> None:
    variables = {"workshop_base": "Course", "workshop_seats": SEATS, "workshop_template": small}
    started = site.start("workshop", **variables)

    def is_due() -> bool:
        names = [row["name"] for row in site.rows() if row["status"] == "running"]
        return len(names) > seats_running or started.process.poll() is not None

    eventually(is_due, "the moment to kill")
    started.kill()
    noted = _sheet(site)
    site.play("workshop", **variables).succeeded()
    site.is_tidy(NAMES)
    # Whatever had been noted before the kill still holds.
    assert {name: entry["password"] for name, entry in _sheet(site).items() if name in noted} == {
        name: entry["password"] for name, entry in noted.items()
    }
    assert all(is_healthy(row["address"]) for row in site.rows())
    assert not any(e["result"].get("changed") for e in site.play("workshop", **variables).succeeded().results)


def test_two_at_once(site: Installation, small: str) -> None:
    """A second concurrent run: everything exists once, and the CSV file is right."""
    variables = {"workshop_base": "Course", "workshop_seats": SEATS, "workshop_template": small}
    runs = [run.wait() for run in [site.start("workshop", **variables) for _ in range(2)]]
    assert [run.returncode for run in runs] == [0, 0], "\n".join(run.output for run in runs)
    site.is_tidy(NAMES)
    for name, entry in _sheet(site).items():
        assert verify_password(site.row(name)["password_hash"], entry["password"])


def test_a_seat_that_cannot_be_made_fails_the_workshop(site: Installation, small: str, network: str) -> None:
    variables = {"workshop_base": "Course", "workshop_seats": SEATS, "workshop_template": small}
    base = site.create("Course", template=small, group="workshop")
    with occupied(site, network, base["address"], offset=2):
        run = site.play("workshop", **variables)
        assert run.returncode != 0
        assert "Not all seats are up: Course 2" in run.output
        assert is_healthy(site.row("Course 1")["address"])
    site.play("workshop", **variables).succeeded()
    site.is_tidy(NAMES)
