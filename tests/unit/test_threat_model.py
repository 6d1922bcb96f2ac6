"""docs/threat-model.md names tests that exist, for each promise and for each finding of the review."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "threat-model.md"
FINDINGS = [*(f"H{n}" for n in range(1, 7)), *(f"M{n}" for n in range(1, 11)), *(f"L{n}" for n in range(1, 18))]
# What a shortfall has that nothing holds.
NO_TEST = "none"


def _tables() -> Iterator[list[dict[str, str]]]:
    """The document's tables with a column ``test``, row by row."""
    for block in re.findall(r"(?m)(?:^\|.*\|\n)+", DOCUMENT.read_text() + "\n"):
        head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines())
        assert all(len(row) == len(head) for row in rows), block
        if "test" in head:
            yield [dict(zip(head, row, strict=True)) for row in rows]


@cache
def _names_of_tests(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text())
    return frozenset(found.name for found in tree.body if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef))


def _missing(reference: str) -> str | None:
    """The reference, if there is no such file or folder below tests or molecule, or no such test in the file."""
    place, _, name = reference.partition(":")
    path = ROOT / place if place.startswith("molecule/") else ROOT / "tests" / place
    found = path.is_file() and name in _names_of_tests(path) if name else path.exists()
    return None if found else reference


def test_every_test_that_is_named_exists() -> None:
    rows = [row for table in _tables() for row in table]
    assert len(rows) > 60
    named = [reference for row in rows for reference in row["test"].split("; ") if reference != NO_TEST]
    assert [reference for reference in named if _missing(reference)] == []


def test_every_finding_has_a_test() -> None:
    (findings,) = (table for table in _tables() if "finding" in table[0])
    assert [row["finding"] for row in findings] == FINDINGS
    assert all(":" in reference for row in findings for reference in row["test"].split("; "))


def test_what_does_not_exist_is_found() -> None:
    assert _missing("unit/test_threat_model.py:test_every_finding_has_a_test") is None
    for gone in ("unit/test_threat_model.py:test_nothing", "unit/test_nothing.py", "molecule/nothing", "nothing:test"):
        assert _missing(gone) == gone
