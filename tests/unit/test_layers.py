"""The layers of core, API and recorder (the contracts in pyproject.toml), and the size of all packages."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORDER = "roles/recorder/files"
PACKAGES = [
    file.parent
    for pattern in ("module_utils/atelier/**", "api/**", "roles/*/files/**")
    for file in ROOT.glob(f"{pattern}/__init__.py")
]


def _lint(contracts: Path, root: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{root / 'module_utils'}:{root}:{root / RECORDER}"}
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", str(contracts)]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_each_package_imports_only_those_below_it() -> None:
    checked = _lint(ROOT / "pyproject.toml", ROOT)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("file", "line", "shown"),
    [
        ("module_utils/atelier/common/errors.py", "from ..engine import client", "atelier.common.errors"),
        ("module_utils/atelier/git/names.py", "import api.settings", "atelier is not allowed to import api"),
        ("api/core/batcher.py", "from ..routers import jobs", "api.core.batcher"),
        ("api/web/view.py", "from ..routers import jobs", "api.web.view"),
        ("api/elsewhere.py", "", "api.elsewhere"),
        (f"{RECORDER}/atelier_recorder/proxy/pipe.py", "from ..writer import turns", "atelier_recorder.proxy"),
        (f"{RECORDER}/atelier_recorder/writer/turns.py", "from ..proxy import pipe", "atelier_recorder.writer"),
        (f"{RECORDER}/atelier_recorder/messages.py", "from .writer import turns", "atelier_recorder.messages"),
    ],
)
def test_an_import_of_a_higher_layer_is_found(tmp_path: Path, file: str, line: str, shown: str) -> None:
    for path in [file for folder in ("api", "module_utils", RECORDER) for file in ROOT.glob(f"{folder}/**/*.py")]:
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    with (tmp_path / file).open("a") as changed:
        changed.write(f"\n{line}\n")
    checked = _lint(ROOT / "pyproject.toml", tmp_path)
    assert checked.returncode == 1
    assert shown in checked.stdout


def test_a_class_of_the_core_has_its_name_alone() -> None:
    files = (ROOT / "module_utils").rglob("*.py")
    names = [node.name for file in files for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef)]
    assert {name for name in names if names.count(name) > 1} == set()


def test_the_core_knows_no_message_and_no_field_of_the_api() -> None:
    files = [file for file in (ROOT / "module_utils").rglob("*.py") if file.name != "texts.py"]
    assert not [file for file in files if re.search(r"""['"](?:api\.|projectId)""", file.read_text())]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: str(package.relative_to(ROOT)))
def test_no_package_is_large(package: Path) -> None:
    assert len([file for file in package.glob("*.py") if file.name != "__init__.py"]) <= 15, (
        "add to one of its modules, or divide the package"
    )
