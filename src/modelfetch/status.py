"""The job object: LM Studio's words on the wire, a little more in Python.

The event contract:

* a reader gets the current status first, then every change of `state`, then the terminal one;
* progress between two changes of state may be merged, newest wins; nothing else is dropped;
* progress comes at most ten times a second;
* `sequence` grows by at least one with each status of a job, over restarts too;
* `downloaded_bytes` never goes back in the life of a job;
* exactly one terminal status is delivered, and it is the last; a job that is retried has new ones
  for those who ask again.

Field names and presence rules: https://lmstudio.ai/docs/developer/rest/download-status
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

__all__ = ["JobState", "FileStatus", "JobStatus"]


class JobState(StrEnum):
    """The five words of LM Studio's `status` field."""

    DOWNLOADING = "downloading"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    ALREADY_DOWNLOADED = "already_downloaded"

    @property
    def is_terminal(self) -> bool:
        """Whether the job is over."""
        return self in _TERMINAL


_TERMINAL = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.ALREADY_DOWNLOADED})


@dataclass(frozen=True, slots=True)
class FileStatus:
    """Progress of one file of a job.

    Attributes:
        path: Path in the repository.
        size_bytes: Its size.
        downloaded_bytes: Bytes of it on disk.
        single_stream: True when its server ignores ranges, so that it comes over one connection
            and an interruption starts it again from zero.
        verified: True once its SHA-256 was found right and it has its final name.
        reused_bytes: Bytes that were not fetched, but copied from an earlier version of it.
        adopted_from: Where on this machine it was found; `None` for a file that is fetched.
    """

    path: str
    size_bytes: int
    downloaded_bytes: int = 0
    single_stream: bool = False
    verified: bool = False
    reused_bytes: int = 0
    adopted_from: str | None = None


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What a job looked like at one moment. Times are seconds since the epoch (UTC).

    Attributes:
        state: One of the five words.
        sequence: Number of this status in its job; later ones are larger.
        job_id: `job_` and ten hex digits; `None` when already downloaded.
        total_size_bytes: Sum over the files of the plan.
        downloaded_bytes: Bytes of them that are on disk.
        bytes_per_second: Received over the last seconds; 0 while waiting or stalled.
        started_at: When the job was accepted.
        estimated_completion: When it will end at this speed; `None` when unknown.
        completed_at: When it ended well.
        error: `{"type", "message"}` of a failed job.
        pause_reason: Why a paused job waits: somebody asked, the disk is full, or the engine or the
            process that ran it has ended.
        connections: Connections that are receiving now.
        is_queued: Whether the job is `downloading` and waits for its turn.
        files: Progress by file.
    """

    state: JobState
    sequence: int = 0
    job_id: str | None = None
    total_size_bytes: int = 0
    downloaded_bytes: int = 0
    bytes_per_second: float = 0.0
    started_at: float | None = None
    estimated_completion: float | None = None
    completed_at: float | None = None
    error: dict[str, str] | None = None
    pause_reason: str | None = None
    connections: int = 0
    is_queued: bool = False
    files: tuple[FileStatus, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return LM Studio's job object: only its fields, present only when they apply."""
        wire: dict[str, Any] = {}
        if self.state is JobState.ALREADY_DOWNLOADED:
            return {"status": self.state.value}
        if self.job_id is not None:
            wire["job_id"] = self.job_id
        wire["status"] = self.state.value
        wire["total_size_bytes"] = self.total_size_bytes
        wire["downloaded_bytes"] = self.downloaded_bytes
        if self.started_at is not None:
            wire["started_at"] = iso_time(self.started_at)
        if self.state is JobState.DOWNLOADING:
            wire["bytes_per_second"] = float(self.bytes_per_second)
            if self.estimated_completion is not None and self.bytes_per_second > 0:
                wire["estimated_completion"] = iso_time(self.estimated_completion)
        if self.state is JobState.COMPLETED and self.completed_at is not None:
            wire["completed_at"] = iso_time(self.completed_at)
        if self.state is JobState.FAILED and self.error is not None:
            wire["error"] = dict(self.error)
        return wire


def iso_time(seconds: float) -> str:
    """Return ISO 8601 in UTC with milliseconds and `Z`: `2025-10-03T15:33:23.496Z`."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
