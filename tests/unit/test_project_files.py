"""The files that newcomers read first: the version is declared once, links lead somewhere, hooks are checks."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PLACES = ("*.md", "docs/*.md", "roles/*/README.md", "tests/*.md")
PAGES = sorted(page for place in PLACES for page in ROOT.glob(place))
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


def test_the_newest_changes_are_those_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## \[(.+?)\] - \d{4}-\d{2}-\d{2}$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == version


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_hooks_are_the_checks_of_the_tests() -> None:
    listed = ["bash", "-c", '. tests/checks.sh && echo "${static_checks[@]}"']
    checks = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = {hook["id"]: hook["entry"] for hook in repository["hooks"]}
    assert hooks == {name: f"tests/checks.sh {name}" for name in checks}
    assert '"prepare | ${static_checks[*]/%unit/| unit}"' in (ROOT / "tests" / "run.sh").read_text()
