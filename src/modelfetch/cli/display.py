"""What a person or a program sees of a download."""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
)
from rich.table import Table
from rich.text import Text

from modelfetch.status import FileStatus, JobState, JobStatus
from modelfetch.types import LocalModel, ModelMetadata, Plan
from modelfetch.wording import printable

__all__ = ["Display", "JsonLines", "choose_display", "show_plan", "show_saved"]

SECONDS_BETWEEN_LINES = 2.0
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
        for note in _notes(status, self._told):
            self._say(note)
        now = time.monotonic()
        if status.state.is_terminal or now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            self._say(line(status))

    @staticmethod
    def _say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class Live:
    """Bars, redrawn in place."""

    def __init__(self, console: Console, plan: Plan) -> None:
        self._console = console
        self._told: set[str] = set()
        self._names = {file.path: file.path.rpartition("/")[2] for file in plan.files}
        self._rows: dict[str, Any] = {}
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            _StatusColumn(),
            console=console,
            transient=False,
        )
        console.print(headline(plan), markup=False, highlight=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, status: JobStatus) -> None:
        """Redraw."""
        for note in _notes(status, self._told):
            self._progress.console.print(note, markup=False, highlight=False)
        if len(status.files) > 1:
            for file in status.files:
                self._update(file.path, self._names[file.path], file, _file_note(file))
        total = FileStatus("", status.total_size_bytes, status.downloaded_bytes)
        name = "total" if len(status.files) > 1 else next(iter(self._names.values()), "")
        self._update("", name, total, _rest(status))

    def _update(self, key: str, name: str, file: FileStatus, note: str) -> None:
        if key not in self._rows:
            self._rows[key] = self._progress.add_task(name, total=file.size_bytes, note=note)
        self._progress.update(self._rows[key], completed=file.downloaded_bytes, note=note)


class _StatusColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get("note", "")))


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
    return f"{head}  {_rest(status)}"


def _rest(status: JobStatus) -> str:
    if status.state is not JobState.DOWNLOADING:
        return status.state.value.replace("_", " ")
    parts = [f"{decimal(int(status.bytes_per_second))}/s"]
    if status.estimated_completion is not None:
        parts.append(f"{_clock(status.estimated_completion - time.time())} left")
    count = status.connections
    parts.append(f"{count} connection{'' if count == 1 else 's'}")
    return "  ".join(parts)


def _file_note(file: FileStatus) -> str:
    if file.verified:
        return "verified"
    return "one stream" if file.single_stream else ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _notes(status: JobStatus, told: set[str]) -> list[str]:
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


def _in_words(metadata: ModelMetadata | None) -> str | None:
    if metadata is None:
        return None
    parameters, context = metadata.parameter_count, metadata.context_length
    words = [
        metadata.architecture,
        f"{parameters / 1e9:.3g} B parameters" if parameters else None,
        f"{context:,} tokens of context" if context else None,
    ]
    return ", ".join(filter(None, words)) or None


def show_plan(plan: Plan) -> None:
    """Print a plan on stdout."""
    console = Console()
    table = Table(title=None, box=None, pad_edge=False)
    for name, justify in (("file", "left"), ("role", "left"), ("size", "right"), ("hash", "left")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for file in plan.files:
        hash_ = f"{file.blob_name[:16]}…" if file.sha256 or file.git_oid else "unknown"
        table.add_row(escape(file.path), file.role.value, decimal(file.size_bytes), hash_)
    label = escape(plan.quantization or "")
    console.print(f"[bold]{escape(plan.repo)}[/]  {label}", highlight=False)
    console.print(f"commit {plan.commit}", highlight=False)
    console.print(escape(plan.rule), highlight=False)
    if (about := _in_words(plan.metadata)) is not None:
        console.print(escape(printable(about)), highlight=False)
    console.print(table)
    console.print(f"total {decimal(plan.total_size_bytes)}", highlight=False)
