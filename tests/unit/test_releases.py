"""Each release is upgraded from the one before."""

from __future__ import annotations

import re
import tomllib

from tests.installed import ROOT
from tests.upgrade.older import RELEASES


def test_the_upgrade_begins_with_each_release_before_this_one() -> None:
    present = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    before = [version for version in released if version != present]
    assert list(RELEASES) == before[::-1], "add the last commit of the release to tests/upgrade/older.py"
