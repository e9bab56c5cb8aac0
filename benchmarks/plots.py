"""Plots of a run: `python -m benchmarks.plots benchmarks/runs/<date>`.

Makes `<case>.svg` for each case, and `seconds.svg`, in which they are side by side: bars of the
median seconds to verified files, hashing afterwards in another colour, and a line from the fastest
run to the slowest. The same results make the same bytes.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import OURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OURS, _THEIRS, _HASHING, _RANGE = "#d1495b", "#30638e", "#9fb8cc", "#333333"
# Ids would be random without a salt; text as text is a third of the size.
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "modelfetch",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
}
_COLUMNS = 2
_WIDTH, _HEIGHT = 5.0, 3.1  # inches of a panel
_TITLE_CHARACTERS = 52


@dataclass(frozen=True)
class Bar:
    """A contender in a case.

    Attributes:
        name: Whose.
        seconds: Median of the runs that were right, `nan` if none was.
        hashing: The part of it that hashing afterwards took.
        low: The fastest.
        high: The slowest.
        failed: How many were not right.
        runs: How many there were.
    """

    name: str
    seconds: float
    hashing: float
    low: float
    high: float
    failed: int
    runs: int

    @property
    def label(self) -> str:
        """What is written beside the bar."""
        if self.failed == self.runs:
            return "failed"
        failed = f", {self.failed} of {self.runs} failed" if self.failed else ""
        return f"{self.seconds:.2f} s{failed}"


def bars(case: dict[str, Any]) -> list[Bar]:
    """Return a case of `results.json` as bars, the fastest first, those that failed last."""
    found = []
    for name in case["commands"]:
        runs = [run for round_ in case["rounds"] for run in round_ if run["contender"] == name]
        good = [run for run in runs if run["failure"] is None]
        seconds = [run["seconds"] for run in good] or [math.nan]
        hashing = statistics.median([run["hash_seconds"] for run in good] or [0.0])
        found.append(
            Bar(
                name, statistics.median(seconds), hashing, min(seconds), max(seconds),
                len(runs) - len(good), len(runs),
            )
        )  # fmt: skip
    return sorted(found, key=lambda bar: math.inf if math.isnan(bar.seconds) else bar.seconds)


def draw(axes: Axes, case: dict[str, Any]) -> None:
    """Draw a case."""
    shown = bars(case)
    most = max((bar.high for bar in shown if not math.isnan(bar.high)), default=1.0)
    for place, bar in enumerate(shown):
        if math.isnan(bar.seconds):
            axes.text(0.01 * most, place, bar.label, va="center", fontsize=7, color=_RANGE)
            continue
        colour = _OURS if bar.name.startswith(OURS) else _THEIRS
        axes.barh(place, bar.seconds - bar.hashing, color=colour, height=0.7)
        axes.barh(place, bar.hashing, left=bar.seconds - bar.hashing, color=_HASHING, height=0.7)
        axes.plot([bar.low, bar.high], [place, place], color=_RANGE, linewidth=1)
        axes.text(bar.high + 0.01 * most, place, bar.label, va="center", fontsize=7)
    axes.set_yticks(range(len(shown)), [bar.name for bar in shown], fontsize=7)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, most * 1.3)
    axes.tick_params(axis="x", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    title = f"({case['case']}) {case['title']}, {case['size'] / 1e6:,.0f} MB"
    axes.set_title(textwrap.fill(title, _TITLE_CHARACTERS), fontsize=8, loc="left")


def figure(cases: list[dict[str, Any]]) -> Figure:
    """Return the cases side by side."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(cases))
    rows = math.ceil(len(cases) / columns)
    drawn = Figure(figsize=(_WIDTH * columns, _HEIGHT * rows), layout="constrained")
    FigureCanvasSVG(drawn)
    grid = drawn.subplots(rows, columns, squeeze=False)
    for place, axes in enumerate(grid.flat):
        if place < len(cases):
            draw(axes, cases[place])
        else:
            axes.set_axis_off()
    drawn.supxlabel(
        "seconds to verified files: median, line from fastest to slowest; pale: hashing after",
        fontsize=7,
    )
    return drawn


def plot(folder: Path) -> list[Path]:
    """Make the plots of a run beside its results; return them."""
    import matplotlib as mpl

    cases = json.loads((folder / "results.json").read_text())["cases"]
    cases = [case for case in cases if "commands" in case]
    made = {"seconds": cases, **{case["case"]: [case] for case in cases}}
    with mpl.rc_context(_STYLE):
        for name, shown in made.items():
            figure(shown).savefig(folder / f"{name}.svg", metadata={"Date": None})
    return [folder / f"{name}.svg" for name in made]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots", description=__doc__)
    parser.add_argument("folder", type=Path, help="of a run, with its results.json")
    for path in plot(parser.parse_args().folder):
        print(path)


if __name__ == "__main__":
    main()
