"""From results to a table: medians with their range, and ratios pair by pair."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.contenders import OURS
from benchmarks.measure import Result


@dataclass
class CaseReport:
    """All rounds of one case."""

    letter: str
    title: str
    size: int
    commands: dict[str, str]
    rounds: list[list[Result]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {
            "case": self.letter,
            "title": self.title,
            "size": self.size,
            "commands": self.commands,
            "rounds": [[result.to_dict() for result in round_] for round_ in self.rounds],
        }

    def to_markdown(self) -> str:
        """Return the table; a contender is compared with us in the same round only."""
        lines = [
            f"### ({self.letter}) {self.title}",
            "",
            "| | seconds to a verified file | of it hashing after | ours / theirs | CPU s/GB "
            "| peak MB | requests | sent/size |",
            "|---|---|---|---|---|---|---|---|",
        ]
        names = list(dict.fromkeys(result.contender for round_ in self.rounds for result in round_))
        return "\n".join([*lines, *(self._row(name) for name in names), ""])

    def _row(self, name: str) -> str:
        mine = [result for round_ in self.rounds for result in round_ if result.contender == name]
        good = [result for result in mine if result.failure is None]
        if not good:
            return f"| {name} | failed: {mine[0].failure} | | | | | | |"
        failed = (
            f" ({len(mine) - len(good)} of {len(mine)} failed)" if len(good) < len(mine) else ""
        )
        hashing = statistics.median(result.hash_seconds for result in good)
        cells = [
            f"{name}{failed}",
            spread([result.seconds for result in good], "{:.2f}"),
            f"{hashing:.2f}" if hashing else "verifies itself",
            spread(self._ratios(name), "{:.2f}"),
            f"{statistics.median(r.cpu_seconds for r in good) / self.size * 1e9:.2f}",
            f"{statistics.median(r.peak_bytes for r in good) / 1e6:.0f}",
            f"{statistics.median(r.requests for r in good):.0f}",
            f"{statistics.median(r.wire_bytes for r in good) / self.size:.3f}",
        ]
        return f"| {' | '.join(cells)} |"

    def _ratios(self, name: str) -> list[float]:
        ratios = []
        for round_ in self.rounds:
            seconds = {r.contender: r.seconds for r in round_ if r.failure is None}
            if OURS in seconds and name in seconds:
                ratios.append(seconds[OURS] / seconds[name])
        return ratios


def spread(values: Sequence[float], form: str) -> str:
    """Return the median of values, and the smallest and largest."""
    if not values:
        return ""
    low, high = form.format(min(values)), form.format(max(values))
    return f"{form.format(statistics.median(values))} ({low} to {high})"
