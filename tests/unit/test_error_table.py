"""The table of errors in docs/api.md."""

from __future__ import annotations

import re
from pathlib import Path

from api.core.errors import STATUS

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


def test_the_page_has_each_code_with_its_status() -> None:
    rows = re.findall(r"^\| (\d{3}(?:, \d{3})*) \| (.+) \|$", PAGE, re.MULTILINE)
    told = {code: statuses for statuses, text in rows for code in re.findall(r"`([A-Z_]+)`", text)}
    assert {code: status for code, status in STATUS.items() if str(status) not in told.get(code, "")} == {}
