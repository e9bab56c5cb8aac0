"""What a job's transfers report, as numbers for its status."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

from modelfetch.core.pace import SpeedWindow, seconds_left
from modelfetch.shared import FileProgress
from modelfetch.status import FileStatus, JobState, JobStatus
from modelfetch.types import Plan

__all__ = ["Gauge"]

LONGEST_ESTIMATE = 10 * 365 * 86400.0  # seconds; beyond it is no estimate, and no date


class Gauge:
    """Measures one job.

    Args:
        plan: Whose files it fetches.

    Attributes:
        files: One for each path of the plan, written by the transfers.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.files = {file.path: FileProgress() for file in plan.files}
        self._window = SpeedWindow()
        self._received = 0

    def all_there(self) -> None:
        """Note that every file is in the cache."""
        for file in self._plan.files:
            progress = self.files[file.path]
            progress.landed, progress.verified = file.size_bytes, True

    def start_from(self, files: Iterable[FileStatus]) -> None:
        """Go on from the bytes that were there; none of them are taken back."""
        for file in files:
            progress = self.files[file.path]
            progress.landed = max(progress.landed, file.downloaded_bytes)
            progress.single_stream, progress.verified = file.single_stream, file.verified
            progress.reused = max(progress.reused, file.reused_bytes)
            progress.adopted_from = file.adopted_from

    def measured(self, status: JobStatus) -> JobStatus:
        """Return `status` with the numbers of this moment; no sum of bytes goes back."""
        now = time.monotonic()
        received = sum(file.received for file in self.files.values())
        self._window.add(received - self._received, now)
        self._received = received
        files = tuple(
            FileStatus(
                path=file.path,
                size_bytes=file.size_bytes,
                downloaded_bytes=self.files[file.path].landed,
                single_stream=self.files[file.path].single_stream,
                verified=self.files[file.path].verified,
                reused_bytes=self.files[file.path].reused,
                adopted_from=self.files[file.path].adopted_from,
            )
            for file in self._plan.files
        )
        landed = max(status.downloaded_bytes, sum(file.downloaded_bytes for file in files))
        is_running = status.state is JobState.DOWNLOADING
        speed = self._window.speed(now) if is_running else 0.0
        left = seconds_left(status.total_size_bytes - landed, speed)
        if left is not None and left > LONGEST_ESTIMATE:
            left = None
        return replace(
            status,
            downloaded_bytes=landed,
            bytes_per_second=speed,
            estimated_completion=None if left is None else time.time() + left,
            connections=sum(file.connections for file in self.files.values()),
            files=files,
        )
