"""The playbooks workshop and workspace_clone: their actions for different seats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import StrictUndefined
from jinja2.nativetypes import NativeEnvironment

ROOT = Path(__file__).parents[2]
BASE = {"workspace": {"name": "Day"}}
RESULT = {"seats": [{"name": "Day 1"}], "failed_seats": []}
# What Ansible registers for a task that was skipped.
SKIPPED = {"changed": False, "skipped": True, "skip_reason": "Conditional result was False"}


@pytest.mark.parametrize(
    ("seats", "registered", "shown"),
    [(1, RESULT, ["Day", "Day 1"]), ("1", RESULT, ["Day", "Day 1"]), (0, SKIPPED, ["Day"])],
)
def test_a_workshop_without_seats_is_its_base(seats: Any, registered: dict[str, Any], shown: list[str]) -> None:
    (play,) = yaml.safe_load((ROOT / "playbooks" / "workshop.yml").read_text())
    tasks = {task["name"]: task for task in play["tasks"]}
    create, show, check = (
        tasks[name] for name in ("Create the seats", "Show the seats", "Check that every seat is up")
    )
    jinja = NativeEnvironment(undefined=StrictUndefined)

    def value(expression: str) -> Any:
        return jinja.from_string(expression).render(workshop_seats=seats, base=BASE, workshop=registered)

    assert value("{{ " + create.get("when", "true") + " }}") is (registered is RESULT)
    assert [seat["name"] for seat in value(show["vars"]["seats"])] == shown
    assert value("{{ " + check["ansible.builtin.assert"]["that"] + " }}") is True
    assert value(check["ansible.builtin.assert"]["fail_msg"])


@pytest.mark.parametrize(
    ("seats", "passes"),
    [(0, True), (12, True), ("12", True), (-1, False), ("-1", False), ("", False), ("twelve", False)],
)
def test_a_number_of_seats_that_is_none_is_refused(seats: Any, passes: bool) -> None:
    """A wrong one would be zero seats, and the run would succeed without any."""
    (play,) = yaml.safe_load((ROOT / "playbooks" / "workshop.yml").read_text())
    first = play["tasks"][0]["ansible.builtin.assert"]
    jinja = NativeEnvironment(undefined=StrictUndefined)
    assert jinja.from_string("{{ " + first["that"] + " }}").render(workshop_seats=seats) is passes
    assert f"workshop_seats is {seats}." in jinja.from_string(first["fail_msg"]).render(workshop_seats=seats)


@pytest.mark.parametrize(
    ("order", "failed", "fails"),
    [
        ({"clone_count": 2}, [], False),
        ({"clone_count": 2}, ["Day 2"], True),
        ({"clone_names": ["Day 1", "Day 2"]}, ["Day 2"], True),
        ({"clone_ids": ["3f1c9a0b77de"]}, ["Day 2"], False),
    ],
)
def test_a_clone_that_lacks_a_seat_fails_except_for_the_api(
    order: dict[str, Any], failed: list[str], fails: bool
) -> None:
    """Somebody's pipeline would go on without it. The API tells each seat's result."""
    (play,) = yaml.safe_load((ROOT / "playbooks" / "workspace_clone.yml").read_text())
    *_, show, check = play["tasks"]
    assert show["name"] == "Show the seats"
    jinja = NativeEnvironment()

    def value(expression: str) -> Any:
        return jinja.from_string(expression).render(**order, result={"failed_seats": failed})

    is_up = value("{{ " + check["ansible.builtin.assert"]["that"] + " }}")
    assert (value("{{ " + check["when"] + " }}") and not is_up) is fails
    assert ("Day 2" in value(check["ansible.builtin.assert"]["fail_msg"])) is bool(failed)
