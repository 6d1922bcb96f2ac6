"""The roles' argument specifications: complete, and refusing a call that lacks a variable.

What an entry point takes is found by following its tasks: files that they include, templates, and the role's own
variables. Only names that begin with ``atelier_`` count; the rest are Ansible's or a task's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from jinja2 import Environment, nodes

ROOT = Path(__file__).parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if (path / "tasks").is_dir())
JINJA = Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"])  # noqa: S701 - nothing is rendered
OURS = "atelier_"
# Jinja reads regular expressions as Python reads strings.
pytestmark = pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
# What a task holds as an expression without braces.
EXPRESSIONS = ("when", "until", "failed_when", "changed_when", "that")
INCLUDES = ("include_tasks", "import_tasks")
ROLE_INCLUDES = ("include_role", "import_role")
TEMPLATE = re.compile(r"lookup\('ansible\.builtin\.template', '([^']+)'\)")


@dataclass
class Found:
    """The variables that some tasks read, those that they or their files define, and the roles that they include."""

    read: set[str] = field(default_factory=set)
    defined: set[str] = field(default_factory=set)
    templates: set[str] = field(default_factory=set)
    # Role and entry point, and the variables that are given to it.
    roles: list[tuple[str, str, set[str]]] = field(default_factory=list)

    def add(self, other: Found) -> None:
        self.read |= other.read
        self.defined |= other.defined
        self.templates |= other.templates
        self.roles += other.roles


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.exists() else None


@cache
def names_in(text: str) -> frozenset[str]:
    """The variables that a template reads."""
    loaded = (node.name for node in JINJA.parse(text).find_all(nodes.Name) if node.ctx == "load")
    return frozenset(name for name in loaded if name.startswith(OURS))


def read_in(value: Any, *, expression: bool = False) -> Iterator[str]:
    """The variables that a value of YAML reads, at any depth."""
    if isinstance(value, str):
        yield from names_in(f"{{{{ {value} }}}}" if expression and "{{" not in value else value)
    elif isinstance(value, list):
        for item in value:
            yield from read_in(item, expression=expression)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from read_in(item, expression=key in EXPRESSIONS)


def short(key: str) -> str:
    return key.removeprefix("ansible.builtin.")


def of_task(role: str, task: Mapping[str, Any]) -> Found:
    """The variables of a task and of all tasks that it includes."""
    found = Found(read={*read_in(task)}, defined={*task.get("vars", {})})
    found.templates |= {*TEMPLATE.findall(str(task))}
    for key, value in task.items():
        if key in ("block", "rescue", "always"):
            for inner in value:
                found.add(of_task(role, inner))
        elif key == "register":
            found.defined.add(value)
        elif key == "loop_control":
            found.defined |= {value[name] for name in ("loop_var", "index_var") if name in value}
        elif short(key) == "set_fact":
            found.defined |= {*value}
        elif short(key) in INCLUDES:
            found.add(of_file(role, value if isinstance(value, str) else value["file"]))
        elif short(key) in ROLE_INCLUDES:
            found.roles.append((value["name"], value.get("tasks_from", "main"), {*task.get("vars", {})}))
        elif short(key) == "template":
            found.templates.add(value["src"])
    return found


def of_file(role: str, name: str) -> Found:
    found = Found()
    path = ROOT / "roles" / role / "tasks" / name
    for task in load(path if path.suffix else path.with_suffix(".yml")):
        found.add(of_task(role, task))
    return found


def of_template(role: str, name: str) -> Found:
    text = (ROOT / "roles" / role / "templates" / name).read_text()
    found = Found(read={*names_in(text)}, templates={*TEMPLATE.findall(text)})
    for node in JINJA.parse(text).find_all((nodes.Include, nodes.Import, nodes.FromImport)):
        assert isinstance(node.template, nodes.Const), f"{role}: {name} includes a template by an expression"
        found.add(of_template(role, node.template.value))
    return found


def variables(role: str, folder: str) -> Mapping[str, Any]:
    return load(ROOT / "roles" / role / folder / "main.yml") or {}


@cache
def of_entry(role: str, entry: str) -> Found:
    """All that an entry point reads, through the role's templates and variables, too."""
    found = of_file(role, entry)
    own = {**variables(role, "defaults"), **variables(role, "vars")}
    followed: set[str] = set()
    while True:
        found.templates |= {text for name in found.read & {*own} for text in TEMPLATE.findall(str(own[name]))}
        read = {name for known in found.read & {*own} for name in read_in(own[known])}
        for template in found.templates - followed:
            read |= of_template(role, template).read
        followed |= found.templates
        if read <= found.read:
            break
        found.read |= read
    found.defined |= {*variables(role, "vars")}
    # An included role leaves its facts, and takes from here what the call does not give it.
    for name, point, given in found.roles:
        if "{{" in name:
            continue
        inner = of_entry(name, point)
        found.defined |= inner.defined
        found.read |= {option for option, spec in options(name, point).items() if spec.get("required")} - given
    return found


def specifications(role: str) -> dict[str, Any]:
    return dict(load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"])


def options(role: str, entry: str) -> dict[str, Any]:
    return specifications(role).get(entry, {}).get("options") or {}


def entries() -> Iterator[tuple[str, str]]:
    """The entry points: each role's main, those that are specified, and those that anything names in ``tasks_from``."""
    for role in ROLES:
        yield from ((role, entry) for entry in {"main", *specifications(role)})
    named = re.compile(r"name: (\S+|\"\{\{ \w+ \}\}\")\n\s+tasks_from: (\w+)")
    for folder in ("roles", "playbooks", "molecule", "tests"):
        for file in (ROOT / folder).rglob("*.yml"):
            for role, entry in named.findall(file.read_text()):
                # One that is chosen by a variable is meant for every role that has such a file.
                chosen = [role] if role in ROLES else ROLES
                yield from ((name, entry) for name in chosen if (ROOT / f"roles/{name}/tasks/{entry}.yml").exists())


ENTRIES = sorted(set(entries()))


@pytest.mark.parametrize(("role", "entry"), ENTRIES)
def test_what_an_entry_point_reads_is_specified(role: str, entry: str) -> None:
    found = of_entry(role, entry)
    assert sorted(found.read - found.defined - {*options(role, entry)}) == []


@pytest.mark.parametrize(("role", "entry"), ENTRIES)
def test_a_call_without_a_variable_that_has_no_default_is_refused_with_its_name(role: str, entry: str) -> None:
    errors = " ".join(ArgumentSpecValidator(options(role, entry)).validate({}).error_messages)
    refused = {*re.findall(rf"{OURS}\w+", errors)}
    assert refused == {*options(role, entry)} - {*variables(role, "defaults")}


@pytest.mark.parametrize(("role", "entry"), ENTRIES)
def test_no_variable_is_specified_that_nothing_reads(role: str, entry: str) -> None:
    assert sorted({*options(role, entry)} - of_entry(role, entry).read) == []
