"""From results to a table: medians with their range, and ratios pair by pair."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.contenders import OURS
from benchmarks.machine import python
from benchmarks.measure import Result

_COLUMNS = (
    "", "runs", "seconds to verified files", "of it hashing after", "ours / theirs", "CPU s/GB",
    "peak MB", "requests", "sent/size",
)  # fmt: skip


@dataclass
class CaseReport:
    """All rounds of one case.

    Attributes:
        letter: The case's short name.
        title: What it is.
        size: Bytes of all files.
        files: How many files.
        commands: What each contender ran, as one line.
        yardsticks: Contenders that leave no file.
        verifying: Contenders that verify themselves.
        rounds: Results in the order in which they ran.
        about: Lines on the machine and the programs, as they were then.
    """

    letter: str
    title: str
    size: int
    files: int
    commands: dict[str, str]
    yardsticks: set[str] = field(default_factory=set)
    verifying: set[str] = field(default_factory=set)
    rounds: list[list[Result]] = field(default_factory=list)
    about: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {
            "case": self.letter,
            "title": self.title,
            "size": self.size,
            "files": self.files,
            "commands": self.commands,
            "yardsticks": sorted(self.yardsticks),
            "verifying": sorted(self.verifying),
            "rounds": [[result.to_dict() for result in round_] for round_ in self.rounds],
            "about": self.about,
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> CaseReport:
        """Return what `to_dict` gave."""
        return cls(
            raw["case"], raw["title"], raw["size"], raw["files"], raw["commands"],
            set(raw["yardsticks"]), set(raw["verifying"]),
            [[Result(**result) for result in round_] for round_ in raw["rounds"]],
            raw["about"],
        )  # fmt: skip

    def to_markdown(self, head: Sequence[str] = ()) -> str:
        """Return the table; a contender is compared with us in the same round only.

        Args:
            head: Lines on machine and programs that stand above all cases; others are told.
        """
        columns = list(_COLUMNS)
        if self._has_faults:
            columns.append("with faults / without")
        what = f"{self.files} files of together" if self.files > 1 else "a file of"
        own = [f"{line}  " for line in self.about if line not in head]
        lines = [
            f"### ({self.letter}) {self.title}: {what} {self.size / 1e6:,.0f} MB",
            "",
            *own,
            *([""] if own else []),
            f"| {' | '.join(columns)} |",
            "|---" * len(columns) + "|",
        ]
        names = sorted(self.commands, key=self._place)
        return "\n".join([*lines, *(self._row(name, len(columns)) for name in names), ""])

    @property
    def _has_faults(self) -> bool:
        return any(it.without_faults is not None for round_ in self.rounds for it in round_)

    def good_seconds_of(self, name: str) -> list[float]:
        """Return how long each run of a contender took that did not fail."""
        return [result.seconds for result in self._of(name) if result.failure is None]

    def _of(self, name: str) -> list[Result]:
        return [result for round_ in self.rounds for result in round_ if result.contender == name]

    def _place(self, name: str) -> float:
        """Return by what rows are sorted: those that failed come last."""
        seconds = self.good_seconds_of(name)
        return statistics.median(seconds) if seconds else float("inf")

    def _row(self, name: str, width: int) -> str:
        mine = self._of(name)
        good = [result for result in mine if result.failure is None]
        bad = [result.failure for result in mine if result.failure is not None]
        reasons = "; ".join(dict.fromkeys(reason.replace("|", "/") for reason in bad))
        if not good:
            return f"| {name} | {len(mine)} | failed: {reasons} |" + " |" * (width - 3)
        cells = [
            name + (f" ({len(bad)} of {len(mine)} failed: {reasons})" if bad else ""),
            str(len(mine)),
            spread([result.seconds for result in good], "{:.2f}"),
            self._hashing(name, good),
            spread(self._ratios(name), "{:.2f}"),
            _median(good, lambda it: it.cpu_seconds / self.size * 1e9, "{:.2f}"),
            _median(good, lambda it: it.peak_bytes / 1e6, "{:.0f}"),
            _median(good, lambda it: it.requests, "{:.0f}"),
            _median(good, lambda it: it.wire_bytes / self.size, "{:.3f}"),
        ]
        if self._has_faults:
            cells.append(spread(_slowdowns(good), "{:.2f}"))
        return f"| {' | '.join(cells)} |"

    def _hashing(self, name: str, good: Sequence[Result]) -> str:
        if name in self.yardsticks:
            return "writes and verifies nothing"
        if name in self.verifying:
            return "verifies itself"
        return _median(good, lambda it: it.hash_seconds, "{:.2f}")

    def _ratios(self, name: str) -> list[float]:
        ratios = []
        for round_ in self.rounds:
            seconds = {it.contender: it.seconds for it in round_ if it.failure is None}
            if name != OURS and OURS in seconds and name in seconds:
                ratios.append(seconds[OURS] / seconds[name])
        return ratios


def commands_to_markdown(reports: Sequence[CaseReport]) -> str:
    """Return the commands of all contenders, each once for the cases in which it is the same."""
    cases: dict[str, dict[str, list[str]]] = {}
    for report in reports:
        for name, command in report.commands.items():
            cases.setdefault(name, {}).setdefault(_general(command), []).append(report.letter)
    blocks = [
        f"{name} ({', '.join(letters)}):\n\n```sh\n{command}\n```\n"
        for name, commands in cases.items()
        for command, letters in commands.items()
    ]
    return "\n".join(blocks)


def _general(command: str) -> str:
    """Return a command without what is of one run or machine only: ports, hashes, folders."""
    for pattern, replacement in (
        (r"\b[0-9a-f]{64}\b", "SHA256"),
        (r"http(s?)://[\d.]+:\d+", r"http\1://HOST"),
        (r"/\d+(-\d+-of-\d+\.gguf)", r"/SIZE\1"),
        (r"/\S*/nginx-\w+/", "/NGINX/"),
        (re.escape(python()), "python"),
        (re.escape(f"{Path(python()).parent}/"), ""),
    ):
        command = re.sub(pattern, replacement, command)
    return command


def _slowdowns(results: Sequence[Result]) -> list[float]:
    return [it.seconds / it.without_faults for it in results if it.without_faults is not None]


def _median(results: Sequence[Result], value: Callable[[Result], float], form: str) -> str:
    return form.format(statistics.median(value(result) for result in results))


def spread(values: Sequence[float], form: str) -> str:
    """Return the median of values, and the smallest and largest."""
    if not values:
        return ""
    low, high = form.format(min(values)), form.format(max(values))
    return f"{form.format(statistics.median(values))} ({low} to {high})"
