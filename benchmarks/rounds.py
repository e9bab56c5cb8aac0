"""The rounds of a case: in each, every contender runs once, in an order that shifts."""

from __future__ import annotations

import shlex
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from benchmarks.cases import Case, Stage, staged
from benchmarks.contenders import OURS, Contender
from benchmarks.measure import Outcome, Result, run
from benchmarks.report import CaseReport

# Runs that are enough for who needs more than so many times the fastest's time: where the answer is
# a third or a tenth, noise does not change it.
FAR_BEHIND = ((10.0, 1), (2.0, 3))
QUICK_LIMIT = 15.0  # with `--quick`, a run of so many seconds has failed

_T = TypeVar("_T")


def run_case(
    case: Case, contenders: Sequence[Contender], rounds: int, folder: Path, *, quick: bool
) -> CaseReport:
    """Run all rounds of a case, and print how they go and its table.

    Args:
        case: Which.
        contenders: Who is here; those that do not fit the case are left out.
        rounds: How many.
        folder: An empty folder, or one of another case.
        quick: Whether with its smaller size.
    """
    (folder / "served").mkdir(exist_ok=True)
    case = replace(case, time_limit=QUICK_LIMIT) if quick else case
    taking = [contender for contender in contenders if case.takes(contender)]
    with staged(case, folder / "served", case.quick_size if quick else case.size) as stage:
        shown = stage.task(Path("DIR"))
        if shown.certificate is not None:
            shown = replace(shown, certificate=Path("DIR/authority.pem"))
        report = CaseReport(
            case.letter, case.title, stage.size, case.files,
            {it.name: _shown(it.command(shown).words) for it in taking},
            {it.name for it in taking if it.is_yardstick},
            {it.name for it in taking if it.verifies},
        )  # fmt: skip
        for number in range(rounds):
            order = [it for it in shifted(taking, number) if not is_known(it.name, report)]
            results = [_run(case, it, stage, folder / "run", number) for it in order]
            report.rounds.append(results)
            told = ", ".join(
                f"{it.contender} {it.failure or f'{it.seconds:.2f}'}" for it in results
            )
            print(f"({case.letter}) round {number + 1}: {told}", flush=True)
    print("\n" + report.to_markdown(), flush=True)
    return report


def shifted(kinds: Sequence[_T], number: int) -> list[_T]:
    """Return the order of a round."""
    by = number % max(1, len(kinds))
    return [*kinds[by:], *kinds[:by]]


def is_known(name: str, report: CaseReport) -> bool:
    """Return whether another run of a contender would tell nothing that is worth its time.

    That is never so of ours, since the ratios of all others are with the same round's.
    """
    runs = report.seconds_of(name)
    if OURS in name or not runs:
        return False
    fastest = min(
        statistics.median(report.seconds_of(it))
        for it in report.commands.keys() - report.yardsticks
        if report.seconds_of(it)
    )
    times = statistics.median(runs) / fastest
    return any(times > far and len(runs) >= enough for far, enough in FAR_BEHIND)


def _run(case: Case, contender: Contender, stage: Stage, folder: Path, number: int) -> Result:
    if not case.fails:
        return _run_once(case, contender, stage, folder, number)
    stage.hub.fail(False)
    without = _run_once(case, contender, stage, folder, number)
    stage.hub.fail(True)
    result = _run_once(case, contender, stage, folder, number)
    if without.failure is None:
        result.without_faults = without.seconds
    elif result.failure is not None:
        result.failure = f"without faults too: {without.failure}"
    return result


def _run_once(case: Case, contender: Contender, stage: Stage, folder: Path, number: int) -> Result:
    (folder / "home").mkdir(parents=True)
    task = stage.task(folder)
    hashes = {} if contender.is_yardstick else {it.name: it.sha256 for it in task.files}
    try:
        with stage.settled(folder.parent):
            return run(
                contender.name,
                contender.command(task),
                Outcome(folder, hashes, contender.verifies),
                environment=task.environment,
                server=stage.server,
                round_number=number,
                time_limit=case.time_limit,
            )
    finally:
        shutil.rmtree(folder)


def _shown(words: list[str]) -> str:
    """Return a command without the folder in which its program is on this machine."""
    return shlex.join([Path(words[0]).name, *words[1:]])
