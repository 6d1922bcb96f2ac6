"""The playbook workshop: its actions for different numbers of seats."""

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
