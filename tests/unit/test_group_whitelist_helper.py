"""The helper beside Squid, spoken to as Squid speaks to it: one line a question, one line an answer."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from atelier.egress.group_whitelists import GroupWhitelists
from atelier.egress.whitelist import WhitelistMode

HELPER = Path(__file__).parents[2] / "roles/squid/files/image/group-whitelist"
SEAT = "172.30.0.5"


class Helper:
    def __init__(self, folder: Path) -> None:
        self.workspaces = folder / "egress" / "workspaces.json"
        self.workspaces.parent.mkdir()
        (folder / "squid").mkdir()
        self.groups = GroupWhitelists(folder, wait=1)
        self.process = subprocess.Popen(
            [sys.executable, str(HELPER), str(self.workspaces), str(folder / "squid" / "groups.json")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def place(self, content: Any) -> None:
        replacement = self.workspaces.with_name("new")
        replacement.write_text(content if isinstance(content, str) else json.dumps(content))
        replacement.replace(self.workspaces)

    def ask(self, question: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(question.encode("latin-1") + b"\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().decode().strip()

    def answers(self, question: str, answer: str) -> None:
        """It looks for new files twice a second."""
        deadline = time.monotonic() + 10
        while (given := self.ask(question)) != answer:
            assert time.monotonic() < deadline, given
            time.sleep(0.05)


@pytest.fixture
def helper(tmp_path: Path) -> Iterator[Helper]:
    made = Helper(tmp_path)
    yield made
    assert made.process.poll() is None, "it died"
    assert made.process.stdin is not None
    made.process.stdin.close()
    assert made.process.wait(10) == 0


def test_a_group_reaches_its_list(helper: Helper) -> None:
    helper.place({SEAT: {"id": "0123456789ab", "group": "red team"}, "172.30.0.6": {"id": "1", "group": None}})
    helper.groups.change("red team", (".example.org",), WhitelistMode.EXACT, check_mode=False)
    helper.answers(f"0 {SEAT} example.org -", "0 OK")
    assert helper.ask(f"17 {SEAT} www.Example.ORG. -") == "17 OK"
    assert helper.ask(f"1 {SEAT} notexample.org -") == "1 ERR"
    assert helper.ask(f"1 {SEAT} org -") == "1 ERR"
    assert helper.ask(f"1 {SEAT} example.org.evil.net -") == "1 ERR"
    assert helper.ask("1 172.30.0.6 example.org -") == "1 ERR"
    assert helper.ask("1 172.30.0.7 example.org -") == "1 ERR"


def test_changes_are_noticed(helper: Helper) -> None:
    assert helper.ask(f"0 {SEAT} example.org -") == "0 ERR"
    helper.place({SEAT: {"id": "0", "group": "red"}})
    helper.groups.change("red", (".example.org",), WhitelistMode.PRESENT, check_mode=False)
    helper.answers(f"0 {SEAT} example.org -", "0 OK")
    helper.place({SEAT: {"id": "0", "group": "blue"}})
    helper.answers(f"0 {SEAT} example.org -", "0 ERR")
    helper.place({SEAT: {"id": "0", "group": "red"}})
    helper.answers(f"0 {SEAT} example.org -", "0 OK")
    helper.groups.change("red", (), WhitelistMode.EXACT, check_mode=False)
    helper.answers(f"0 {SEAT} example.org -", "0 ERR")
    assert helper.groups.all() == {}


@pytest.mark.parametrize("content", ["", "{", "[]", "[1]", "null", '{"172.30.0.5": 1}', '{"172.30.0.5": {"id": "x"}}'])
def test_what_cannot_be_read_allows_nothing(helper: Helper, content: str) -> None:
    helper.groups.change("red", (".example.org",), WhitelistMode.EXACT, check_mode=False)
    helper.place({SEAT: {"id": "0", "group": "red"}})
    helper.answers(f"0 {SEAT} example.org -", "0 OK")
    helper.place(content)
    helper.answers(f"0 {SEAT} example.org -", "0 ERR")


@pytest.mark.parametrize(
    "question", ["5", "5 172.30.0.5", "x y z \xff\xfe", "5 %ff%fe %00 -", f"5 {SEAT} {'a.' * 5000} -"]
)
def test_odd_questions_are_survived(helper: Helper, question: str) -> None:
    assert helper.ask(question).split()[1] in ("ERR", "BH")
    assert helper.ask(f"1 {SEAT} example.org -") == "1 ERR"
