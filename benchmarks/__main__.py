"""Runs cases x contenders in interleaved rounds: `python -m benchmarks [--quick] [--help]`.

In each round every contender runs once, in a mixed order; ratios compare runs of the same round,
since a shared machine is not the same from one minute to the next. Every run must end with the
right SHA-256: those who do not verify get the time of a hash added.
"""

from __future__ import annotations

import argparse
import datetime
import json
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks import again, firstbyte, growth, lag, resume, rss, startup
from benchmarks.cases import CASES
from benchmarks.contenders import CONTENDERS, another_version
from benchmarks.hashing import fastest
from benchmarks.machine import described, ensure_tools, find, version_of, warm
from benchmarks.memory import is_lent
from benchmarks.report import CaseReport, commands_to_markdown
from benchmarks.rounds import run_case

# The cases of the engine itself.
OWN = {
    "i": firstbyte, "j": again, "k": resume, "m": lag, "n": growth, "o": startup, "r": rss,
}  # fmt: skip
RUNS = Path(__file__).parent / "runs"
_ABOUT = (
    "Medians, with the smallest and the largest. A ratio compares runs of the same round; below 1 "
    "we were faster. Whoever takes a URL and not a model is given that of the CDN, and is spared "
    "the Hub; but where there are many files, all ask the Hub for each."
)
_COMMANDS = "Lists of files, and what the Python programs call `t`, come from stdin."


def main() -> None:
    options = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers and folders go too
    missing = ensure_tools()
    if "nginx" in missing:
        sys.exit("nginx is needed: it is the CDN. Install it, or run as root on Debian.")
    asked = [c for c in CONTENDERS if c.name in options.contenders]
    if options.beside is not None:
        asked.append(another_version(options.beside))
    versions = {contender.name: contender.version() for contender in asked}
    there = [contender for contender in asked if versions[contender.name] is not None]
    absent = [name for name, version in versions.items() if version is None]
    cases = [case for case in CASES if case.letter in options.cases]
    obstacles = {case.letter: case.obstacle for case in cases}
    lines = [
        described(),
        ", ".join(f"{contender.name} {versions[contender.name]}" for contender in there),
        *(
            ["the host takes free memory back: it is filled and held for runs of 256 MiB and more"]
            if is_lent()
            else []
        ),
        f"served by nginx {version_of([find('nginx') or 'nginx', '-v'])}",
        f"those that do not verify are followed by {fastest()}, the fastest hash here",
        *([f"not here: {', '.join(absent)}"] if absent else []),
        *(f"not here: case ({letter}), {why}" for letter, why in obstacles.items() if why),
    ]
    print("\n".join(lines), flush=True)
    warm(["modelfetch.__main__", "huggingface_hub.hf_api", "hf_transfer", "pypdl", "parfive"])
    reports: list[CaseReport] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
        for case in cases:
            if obstacles[case.letter] is None:
                reports.append(
                    run_case(case, there, options.rounds, Path(folder), quick=options.quick)
                )
                store(reports, lines, options.store)
        for letter in options.own:
            measure_own(letter, Path(folder), options.store, quick=options.quick)
    print(f"stored in {options.store}")


def measure_own(letter: str, folder: Path, place: Path, *, quick: bool) -> None:
    """Run a case of the engine itself; print and store its table and raw results."""
    module = OWN[letter]
    name = module.__name__.rpartition(".")[2]
    (folder / name).mkdir()
    raw = {"environment": described(), **module.measure(quick=quick, folder=folder / name)}
    text = f"## ({letter}) {name}\n\n{module.to_markdown(raw)}"
    print(f"\n{text}", flush=True)
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{name}.json").write_text(json.dumps(raw, indent=1) + "\n")
    (place / f"{name}.md").write_text(text)


def store(reports: list[CaseReport], lines: list[str], place: Path) -> None:
    """Write the raw results and the tables of the cases so far, and keep those of other cases."""
    now = datetime.datetime.now(datetime.UTC)
    place.mkdir(parents=True, exist_ok=True)
    reports = [replace(report, about=lines) for report in reports]
    known = {report.letter: report for report in (*_stored(place), *reports)}
    reports = [known[case.letter] for case in CASES if case.letter in known]
    raw = {"environment": lines, "at": now.isoformat(), "cases": [r.to_dict() for r in reports]}
    (place / "results.json").write_text(json.dumps(raw, indent=1) + "\n")
    parts = [
        f"# {now:%Y-%m-%d}", "\n".join(f"{line}  " for line in lines), _ABOUT,
        *(report.to_markdown(lines).rstrip() for report in reports),
        "## Commands", _COMMANDS, commands_to_markdown(reports),
    ]  # fmt: skip
    (place / "results.md").write_text("\n\n".join(parts))


def _stored(place: Path) -> list[CaseReport]:
    path = place / "results.json"
    if not path.exists():
        return []
    stored = json.loads(path.read_text())
    return [CaseReport.from_dict({"about": stored["environment"], **it}) for it in stored["cases"]]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    letters = [*(case.letter for case in CASES), *OWN]
    names = [contender.name for contender in CONTENDERS]
    today = RUNS / datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    parser.add_argument("--cases", nargs="+", choices=letters, default=letters)
    parser.add_argument("--contenders", nargs="+", choices=names, default=names)
    parser.add_argument("--beside", type=Path, help="`src` of another version, to take part too")
    parser.add_argument("--rounds", type=int, help="default 7, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="smaller files and one round")
    parser.add_argument("--folder", type=Path, help="where files are put; default: temporary")
    parser.add_argument("--store", type=Path, help=f"default: {today}, with --quick {today}-quick")
    options = parser.parse_args()
    options.store = options.store or (Path(f"{today}-quick") if options.quick else today)
    options.own = [letter for letter in OWN if letter in options.cases]
    if options.quick and options.cases == letters:
        # Many sizes, jobs and files take their time, and six hosts that are idle before theirs.
        options.own = [letter for letter in options.own if letter not in "mn"]
    options.rounds = options.rounds or (1 if options.quick else 7)
    return options


if __name__ == "__main__":
    main()
