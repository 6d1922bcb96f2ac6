"""The pipelines of docs/ci: all that they call exists, and they remove what they start."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "docs" / "ci").glob("*.yml"))


def lines(example: Path) -> list[str]:
    """The shell lines of a pipeline, in their order."""
    found: list[str] = []

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            for key, each in value.items():
                if key in ("run", "script", "before_script", "after_script"):
                    texts = each if isinstance(each, list) else [each]
                    found.extend(line for text in texts for line in text.splitlines())
                else:
                    collect(each)
        elif isinstance(value, list):
            for each in value:
                collect(each)

    collect(yaml.safe_load(example.read_text()))
    return found


def commands(example: Path) -> list[list[str]]:
    return [shlex.split(line) for line in lines(example) if line.startswith("./atelier ")]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_each_command_and_variable_exists(example: Path) -> None:
    settings = "".join(path.read_text() for path in (ROOT / "inventory" / "group_vars" / "all").glob("*.yml"))
    for _, command, *arguments in commands(example):
        known = settings
        if command == "play":
            known += (ROOT / "playbooks" / f"{arguments[0]}.yml").read_text()
        for given in (after for word, after in pairwise(arguments) if word == "-e"):
            name = given.partition("=")[0]
            assert name == "@course.yml" or re.search(rf"\b{name}\b", known), name
    for line in lines(example):
        if match := re.fullmatch(r"(workshop_\w+|atelier_\w+): .*", line.strip()):
            assert re.search(rf"^{match[1]}:", settings, re.MULTILINE), match[1]


def test_the_examples_do_the_same() -> None:
    first, second = (commands(example) for example in EXAMPLES)
    assert [command[1] for command in first] == ["up", "play", "play", "down"]
    assert first == second
