"""requirements.yml: the collections that the project's YAML names, at the versions that are installed here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ansible
import pytest
import yaml

ROOT = Path(__file__).parents[2]
INSTALLED = Path(ansible.__file__).parents[1] / "ansible_collections"
FOLDERS = ("roles", "playbooks", "molecule", "tests", "inventory")
# The full name of a module, filter, test or lookup: three words.
NAME = re.compile(r"(?<![\w.-])([a-z_]+\.[a-z0-9_]+)\.[a-z][a-z0-9_]+(?![\w.])")


def declared() -> dict[str, str]:
    document = yaml.safe_load((ROOT / "requirements.yml").read_text())
    return {entry["name"]: entry["version"] for entry in document["collections"]}


def files() -> Iterator[Path]:
    for folder in FOLDERS:
        for pattern in ("*.yml", "*.j2"):
            yield from (ROOT / folder).rglob(pattern)


def keys_of_items(document: Any) -> Iterator[str]:
    """The keys of mappings in lists, as tasks are."""
    if isinstance(document, dict):
        for value in document.values():
            yield from keys_of_items(value)
    elif isinstance(document, list):
        for item in document:
            yield from map(str, item if isinstance(item, dict) else ())
            yield from keys_of_items(item)


def named() -> set[str]:
    """Returns the collections of the tasks' modules, and those installed here that any text names."""
    names: set[str] = set()
    for file in files():
        text = file.read_text()
        found = {match[1] for match in NAME.finditer(text)}
        names |= {name for name in found if (INSTALLED / name.replace(".", "/")).is_dir()}
        if file.suffix == ".yml":
            names |= {match[1] for key in keys_of_items(yaml.safe_load(text)) if (match := NAME.fullmatch(key))}
    return names - {"ansible.builtin"}


def test_what_is_named_is_declared_and_nothing_else() -> None:
    assert named() == set(declared())


@pytest.mark.parametrize(("name", "version"), declared().items())
def test_what_is_declared_is_what_is_installed(name: str, version: str) -> None:
    manifest = json.loads((INSTALLED / name.replace(".", "/") / "MANIFEST.json").read_text())
    assert manifest["collection_info"]["version"] == version
