"""What a person or a program sees of a download; on a terminal, with bars from `live`."""

from __future__ import annotations

import json
import os
import sys
import time
from types import TracebackType
from typing import Protocol, Self

from rich.filesize import decimal

from modelfetch.status import FileStatus, JobState, JobStatus
from modelfetch.types import LocalModel, Plan
from modelfetch.wording import printable

__all__ = [
    "Display",
    "JsonLines",
    "choose_display",
    "headline",
    "notes",
    "rest",
    "row_note",
    "show_saved",
]

SECONDS_BETWEEN_LINES = 2.0
# By these rich is told that there is a terminal where none can be seen.
_FORCED = {"FORCE_COLOR", "TTY_COMPATIBLE"}
_ONE_STREAM = (
    "{}: this server ignores ranges, so it comes over one connection, and an interruption "
    "starts it again from zero."
)


class Display(Protocol):
    """Shows statuses until it is left."""

    def show(self, status: JobStatus) -> None:
        """Show one status."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def choose_display(as_json: bool, plan: Plan) -> Display:
    """Return JSON lines if asked for, a live display on a terminal, plain lines elsewhere."""
    if as_json:
        return JsonLines()
    # What draws takes longer to import than all else of the command line.
    is_terminal = sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()
    if not is_terminal and not os.environ.keys() & _FORCED:
        return Lines(plan)
    from rich.console import Console

    from modelfetch.cli.live import Live

    console = Console(stderr=True)
    return Live(console, plan) if console.is_terminal else Lines(plan)


class _Quiet:
    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class JsonLines(_Quiet):
    """One wire object a line, on stdout."""

    def show(self, status: JobStatus) -> None:
        """Print the status, unless it is the last: that one is printed with the files."""
        if status.state not in (JobState.COMPLETED, JobState.ALREADY_DOWNLOADED):
            print(json.dumps(status.to_dict()), flush=True)

    @staticmethod
    def finish(status: JobStatus, model: LocalModel) -> None:
        """Print the last status with `path` and `files` added."""
        files = [
            {
                "path": str(file.path),
                "size_bytes": file.size_bytes,
                "sha256": file.sha256,
                "role": file.role.value,
            }
            for file in model.files
        ]
        print(json.dumps({**status.to_dict(), "path": str(model.path), "files": files}))


class Lines(_Quiet):
    """A line every two seconds, for logs."""

    def __init__(self, plan: Plan) -> None:
        self._last = -SECONDS_BETWEEN_LINES
        self._told: set[str] = set()
        self._say(headline(plan))

    def show(self, status: JobStatus) -> None:
        """Print a line if it is time for one, or the last."""
        for note in notes(status, self._told):
            self._say(note)
        now = time.monotonic()
        if status.state.is_terminal or now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            self._say(line(status))

    @staticmethod
    def _say(text: str) -> None:
        if sys.stderr is not None:  # or it would be printed on stdout
            print(text, file=sys.stderr, flush=True)


def headline(plan: Plan) -> str:
    """Return one line on what a plan is."""
    label = plan.quantization or plan.files[0].path
    size = decimal(plan.total_size_bytes)
    return f"{plan.repo} {label} at {plan.commit[:12]}, {size}: {plan.rule}"


def line(status: JobStatus) -> str:
    """Return one line on how a job is doing."""
    total = status.total_size_bytes
    share = 100.0 * status.downloaded_bytes / total if total else 100.0
    head = f"{share:5.1f}%  {decimal(status.downloaded_bytes)} of {decimal(total)}"
    return f"{head}  {rest(status)}"


def rest(status: JobStatus) -> str:
    """Return how fast a job is, or what became of it."""
    if status.state is not JobState.DOWNLOADING:
        return status.state.value.replace("_", " ")
    parts = [f"{decimal(int(status.bytes_per_second))}/s"]
    if status.estimated_completion is not None:
        parts.append(f"{_clock(status.estimated_completion - time.time())} left")
    count = status.connections
    parts.append(f"{count} connection{'' if count == 1 else 's'}")
    return "  ".join(parts)


def row_note(file: FileStatus) -> str:
    """Return what there is to say of one of several files."""
    if file.verified:
        return "verified"
    return "one stream" if file.single_stream else ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def notes(status: JobStatus, told: set[str]) -> list[str]:
    """Return what is to be said once of each file; `told` is of which it was."""
    fresh = [f.path for f in status.files if f.single_stream and f.path not in told]
    told.update(fresh)
    return [_ONE_STREAM.format(path) for path in fresh]


def show_saved(status: JobStatus) -> None:
    """Say on stderr which files, and what of them, were on this machine already."""
    for file in status.files:
        where = printable(f"{file.path} was at {file.adopted_from}")
        if file.adopted_from is not None:
            print(f"{where}: 0 bytes downloaded.", file=sys.stderr)
        elif file.reused_bytes:
            saved = f"{decimal(file.reused_bytes)} of {decimal(file.size_bytes)}"
            print(f"{file.path}: {saved} came from the version that was here.", file=sys.stderr)
