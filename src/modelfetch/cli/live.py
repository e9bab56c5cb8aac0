"""Bars on a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
)
from rich.text import Text

from modelfetch.cli.display import headline, notes, rest, row_note
from modelfetch.status import FileStatus, JobStatus
from modelfetch.types import Plan

__all__ = ["Live"]


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
        for note in notes(status, self._told):
            self._progress.console.print(note, markup=False, highlight=False)
        if len(status.files) > 1:
            for file in status.files:
                self._update(file.path, self._names[file.path], file, row_note(file))
        total = FileStatus("", status.total_size_bytes, status.downloaded_bytes)
        name = "total" if len(status.files) > 1 else next(iter(self._names.values()), "")
        self._update("", name, total, rest(status))

    def _update(self, key: str, name: str, file: FileStatus, note: str) -> None:
        if key not in self._rows:
            self._rows[key] = self._progress.add_task(name, total=file.size_bytes, note=note)
        self._progress.update(self._rows[key], completed=file.downloaded_bytes, note=note)


class _StatusColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get("note", "")))
