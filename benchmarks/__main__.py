"""Runs cases x contenders in interleaved rounds: `python -m benchmarks [--quick] [--help]`.

In each round every contender runs once, in an order that shifts from round to round; ratios compare
runs of the same round, since a shared machine is not the same from one minute to the next. Every
run must end with the right SHA-256: those who do not verify get the time of a hash added.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.cases import CASES, NAME, Case, Stage, staged
from benchmarks.contenders import CONTENDERS, Contender, Task
from benchmarks.machine import described, ensure_tools
from benchmarks.measure import Result, run
from benchmarks.report import CaseReport

TIME_LIMIT = 300.0
RUNS = Path(__file__).parent / "runs"


def main() -> None:
    options = _arguments()
    missing = ensure_tools()
    if "nginx" in missing:
        sys.exit("nginx is needed: it is the CDN. Install it, or run as root on Debian.")
    there = [c for c in CONTENDERS if c.name in options.contenders and c.version() is not None]
    absent = [c.name for c in CONTENDERS if c.name in options.contenders and c not in there]
    lines = [
        described(),
        ", ".join(f"{contender.name} {contender.version()}" for contender in there),
        *([f"not here: {', '.join(absent)}"] if absent else []),
    ]
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
        reports = [
            run_case(case, there, options.rounds, Path(folder), quick=options.quick)
            for case in CASES
            if case.letter in options.cases
        ]
    store(reports, lines, options.store)


def run_case(
    case: Case, contenders: list[Contender], rounds: int, folder: Path, *, quick: bool
) -> CaseReport:
    """Run all rounds of a case, and print its table."""
    size = case.quick_size if quick else case.size
    (folder / "served").mkdir(exist_ok=True)
    with staged(case, folder / "served", size) as stage:
        commands = {c.name: shlex.join(c.command(_task(stage, Path("DIR")))) for c in contenders}
        report = CaseReport(case.letter, case.title, size, commands)
        for number in range(rounds):
            shift = number % len(contenders)
            order = contenders[shift:] + contenders[:shift]
            report.rounds.append([_run(c, stage, folder / "run") for c in order])
            _tell(case, number, report.rounds[-1])
    print("\n" + report.to_markdown(), flush=True)
    return report


def _run(contender: Contender, stage: Stage, folder: Path) -> Result:
    folder.mkdir()
    task = _task(stage, folder)
    try:
        return run(
            contender.name,
            contender.command(task),
            environment=task.environment,
            server=stage.server,
            result_file=folder,
            sha256=stage.sha256,
            verifies=contender.verifies,
            time_limit=TIME_LIMIT,
        )
    finally:
        shutil.rmtree(folder)


def _task(stage: Stage, folder: Path) -> Task:
    certificate = stage.server.certificate
    return Task(stage.endpoint, stage.url, NAME, stage.sha256, folder, certificate)


def _tell(case: Case, number: int, round_: list[Result]) -> None:
    told = ", ".join(f"{r.contender} {r.failure or f'{r.seconds:.2f} s'}" for r in round_)
    print(f"({case.letter}) round {number + 1}: {told}", flush=True)


def store(reports: list[CaseReport], lines: list[str], folder: Path | None) -> None:
    """Write the raw results and the tables below `benchmarks/runs/<date>/`."""
    now = datetime.datetime.now(datetime.UTC)
    place = folder or RUNS / now.strftime("%Y-%m-%d")
    place.mkdir(parents=True, exist_ok=True)
    raw = {"environment": lines, "at": now.isoformat(), "cases": [r.to_dict() for r in reports]}
    (place / "results.json").write_text(json.dumps(raw, indent=1) + "\n")
    tables = "\n".join(report.to_markdown() for report in reports)
    text = "\n".join(f"{line}  " for line in lines)
    (place / "results.md").write_text(f"# {now:%Y-%m-%d}\n\n{text}\n\n{tables}")
    print(f"stored in {place}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    letters = [case.letter for case in CASES]
    names = [contender.name for contender in CONTENDERS]
    parser.add_argument("--cases", nargs="+", choices=letters, default=letters)
    parser.add_argument("--contenders", nargs="+", choices=names, default=names)
    parser.add_argument("--rounds", type=int, help="default 7, or 2 with --quick")
    parser.add_argument("--quick", action="store_true", help="smaller files, two rounds")
    parser.add_argument("--folder", type=Path, help="where files are put; default: temporary")
    parser.add_argument("--store", type=Path, help="where results go; default: runs/<date>")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 7)
    return options


if __name__ == "__main__":
    main()
