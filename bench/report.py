"""The table of figures, as it is printed and as docs/bench.md shows it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from datetime import date

from .host import description


class Report:
    """Rows of the table: what was measured, the figure, the baseline beside it, the goal, whether it was met."""

    def __init__(self) -> None:
        self._rows: list[str] = []
        self.missed: list[str] = []

    def add(self, what: str, figure: str, raw: str, goal: str, met: bool) -> None:
        self._rows.append(f"| {what} | {figure} | {raw} | {goal} | {'yes' if met else '**no**'} |")
        print(f"  {what}: {figure} (baseline {raw}; goal {goal}: {'met' if met else 'MISSED'})", flush=True)
        if not met:
            self.missed.append(what)

    def markdown(self, rounds: int) -> str:
        head = f"""# Figures

Taken by `python -m bench` on {date.today().isoformat()}: {description()}. Medians of {rounds} rounds; a round
measures the baseline, then Atelier. The baseline creates, starts and polls the same image directly through the Docker
API, with a thread pool of the same size.

| what | Atelier | baseline | goal | met |
| --- | --- | --- | --- | --- |
"""
        return head + "\n".join(self._rows) + "\n"


def p95(figures: Sequence[float]) -> float:
    return statistics.quantiles(figures, n=20)[-1]
