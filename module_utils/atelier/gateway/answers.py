"""The gateway's response counts for the API and the pages, from its own counters."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from .runtime_socket import ask

# A seat that is stopped or whose program fails is not the operator's concern.
_BACKENDS = ("api", "pages")
_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")


def count_answers(state_dir: Path) -> Mapping[str, int] | None:
    """The number of answers by class of status, such as ``5xx``, since the gateway's last reload; None if it does not
    run. Raises GATEWAY_ERROR if it does not answer."""
    answer = ask(state_dir, "show stat -1 2 -1\n")
    return None if answer is None else parse(answer)


def parse(answer: str) -> Mapping[str, int]:
    """The answers in the CSV of ``show stat``."""
    counted: Counter[str] = Counter(dict.fromkeys(_CLASSES, 0))
    for row in csv.DictReader(answer.removeprefix("# ").strip().splitlines()):
        if row["pxname"] in _BACKENDS and row["svname"] == "BACKEND":
            counted.update({name: int(row[f"hrsp_{name}"] or 0) for name in _CLASSES})
    return counted
