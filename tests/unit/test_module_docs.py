"""The modules' documentation besides options: first version, author and requirements."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from atelier.ansible_module import argument_spec

from plugins.doc_fragments.atelier import ModuleDocFragment

ROOT = Path(__file__).parents[2]
CORE = ROOT / "module_utils" / "atelier"
MODULES = sorted((ROOT / "library").glob("*.py"))
IN_ANSIBLE = "ansible.module_utils.atelier"
# The packages of what the core imports. None: it comes with another one (docker), or with Python.
PACKAGES = {
    "argon2": "argon2-cffi",
    "backports": "backports.zstd (before Python 3.14)",
    "compression": None,
    "requests": None,
    "urllib3": None,
    "yaml": "PyYAML",
}


def documentation(module: Path) -> dict[str, Any]:
    """The module's own documentation and the fragment that all have in one form, merged as Ansible does."""
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DOCUMENTATION":
            own = dict(yaml.safe_load(ast.literal_eval(node.value)))
            fragment = own["extends_documentation_fragment"][-1].removeprefix("atelier.").upper()
            common = yaml.safe_load(getattr(ModuleDocFragment, fragment))
            requirements = [*common["requirements"], *own.get("requirements", [])]
            return {**common, **own, "requirements": requirements}
    raise AssertionError(f"{module.name} has no DOCUMENTATION")


@cache
def imports(file: Path) -> frozenset[str]:
    """The modules that a file imports, anywhere in it; those of the core with a point before them."""
    return frozenset(_imports(file))


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = node.module or ""
            if node.level or name.startswith(IN_ANSIBLE):
                package = file.parents[node.level - 1].relative_to(CORE).parts if node.level else ()
                inner = ".".join([*package, *filter(None, name.removeprefix(IN_ANSIBLE).strip(".").split("."))])
                yield f".{inner}"
                yield from (f".{inner}.{alias.name}".replace("..", ".") for alias in node.names)
            else:
                yield name
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "import_module":
            inner = (part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant))
            yield from (str(name) for name in inner)


def needed(module: Path) -> set[str]:
    """The packages besides Python's and Ansible's own, in whatever file of the core they are imported."""
    files, names = [module], set[str]()
    for file in files:
        for name in imports(file):
            if not name.startswith("."):
                names.add(name.partition(".")[0])
                continue
            path = CORE.joinpath(*name.strip(".").split("."))
            inner = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            if inner.exists() and inner not in files:
                files.append(inner)
    packages = {PACKAGES.get(name, name) for name in names - sys.stdlib_module_names - {"ansible"}}
    return {package for package in packages if package}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_a_module_says_what_it_needs(module: Path) -> None:
    assert sorted(documentation(module)["requirements"]) == sorted(["python >= 3.11", *needed(module)])


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_a_module_says_since_when_and_by_whom(module: Path) -> None:
    written = documentation(module)
    versions = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert written["version_added"] in versions
    # ansible-test wants an account beside the name.
    assert re.fullmatch(r"[\w ]+ \(@[\w-]+\)", written["author"])


def test_the_argument_specification_comes_from_the_documentation() -> None:
    options = """
extends_documentation_fragment: [atelier, atelier.workspace, atelier.check]
options:
  password_hash: {description: A hash., type: str}
  remove_password: {description: Whether it goes., type: bool, default: false}
  look_at: {description: What., type: dict, suboptions: {files: {description: Files., type: list, elements: path}}}
  ready_timeout: {description: Told otherwise.}
"""
    spec = argument_spec(yaml.safe_load(options))
    assert {*spec} == {"site", "ready_timeout", "name", "id", "password_hash", "remove_password", "look_at"}
    assert spec["password_hash"] == {"type": "str", "no_log": True}
    assert spec["remove_password"] == {"type": "bool", "default": False, "no_log": False}
    assert spec["look_at"]["options"] == {"files": {"type": "list", "elements": "path"}}
    assert (spec["ready_timeout"]["type"], spec["ready_timeout"]["default"]) == ("float", 60)
