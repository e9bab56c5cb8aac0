"""The rounds of a case: in each, every contender runs once, in a mixed order."""

from __future__ import annotations

import random
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
# a half or a tenth, noise does not change it. Of who is done sooner, more cost next to nothing.
FAR_BEHIND = ((10.0, 1), (1.5, 3))
LONG_SECONDS = 5.0
QUICK_LIMIT = 10.0  # with `--quick`, a run of so many seconds has failed

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
            known = {it.name for it in taking if not case.fails and is_known(it.name, report)}
            order = shuffled([it for it in taking if it.name not in known], number)
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


def shuffled(kinds: Sequence[_T], number: int) -> list[_T]:
    """Return the order of a round: mixed, so that nobody always follows the same one."""
    return random.Random(number).sample(kinds, len(kinds))


def is_known(name: str, report: CaseReport) -> bool:
    """Return whether another run of a contender would tell nothing that is worth its time.

    That is never so of ours, since the ratios of all others are with the same round's, nor of the
    best of the others, whom those are about.
    """
    medians = {
        it: statistics.median(seconds)
        for it in report.commands.keys() - report.yardsticks
        if (seconds := report.good_seconds_of(it))
    }
    best = min((it for it in medians if OURS not in it), key=medians.__getitem__, default=name)
    if OURS in name or name == best or medians.get(name, 0.0) <= LONG_SECONDS:
        return False
    times, runs = medians[name] / min(medians.values()), len(report.good_seconds_of(name))
    return any(times > far and runs >= enough for far, enough in FAR_BEHIND)


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
