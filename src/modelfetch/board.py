"""What a job shows: its status, and what is written down of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from modelfetch.broadcast import Broadcast
from modelfetch.config import Config
from modelfetch.core.job import REASONS, JobInput, after, lost
from modelfetch.core.line import Rank
from modelfetch.core.pace import TokenBucket
from modelfetch.core.record import JobRecord, revived
from modelfetch.errors import InsufficientSpace, InvalidState, JobNotFound, ModelFetchError
from modelfetch.gauge import Gauge
from modelfetch.status import JobState, JobStatus
from modelfetch.types import LocalModel, Plan

__all__ = ["Board"]


class Board:
    """The status of a job, published whenever it changes.

    Args:
        plan: What the job fetches.
        config: Whose cache and Hub this is.
        job_id: Its id; `None` when everything was there already.
        place: Its place in line.
        on_status: Told of every status.

    Attributes:
        gauge: What its transfers report.
        bucket: The bound on its speed.
        broadcast: Gets every status.
        model: What it fetched, when it did so here.
        error: Why it failed, or that the disk is full.
        is_live: Whether it runs here, so that the gauge knows best.
        is_forgotten: Whether it was left out, here or by another engine.
        ended_at: When it was over, in seconds since the epoch; `None` before.
    """

    def __init__(
        self,
        plan: Plan,
        config: Config,
        job_id: str | None,
        place: int,
        on_status: Callable[[object, JobStatus], None],
    ) -> None:
        self.plan, self.job_id = plan, job_id
        self.gauge, self.broadcast = Gauge(plan), Broadcast()
        self.bucket = TokenBucket()
        self.model: LocalModel | None = None
        self.error: ModelFetchError | None = None
        self.is_live = self.is_forgotten = False
        self.priority, self.place = 0, place
        self.ended_at: float | None = None
        self._config, self._on_status = config, on_status
        self._status = JobStatus(
            state=JobState.DOWNLOADING,
            job_id=job_id,
            total_size_bytes=plan.total_size_bytes,
            started_at=time.time(),
        )

    @property
    def state(self) -> JobState:
        """The state it is in."""
        return self._status.state

    @property
    def was_left(self) -> bool:
        """Whether it is paused because its engine ended, for any other to go on with."""
        reasons = (REASONS[JobInput.CLOSE], REASONS[JobInput.LOST])
        return self.state is JobState.PAUSED and self._status.pause_reason in reasons

    @property
    def status(self) -> JobStatus:
        """How it is doing now; for a job that runs elsewhere, when it was written down last."""
        return self.gauge.measured(self._status) if self.is_live else self._status

    def rank(self) -> Rank:
        """Return where it stands in line."""
        return Rank(-self.priority, self.place, self.job_id or "")

    def record(self) -> JobRecord:
        """Return what is to be written down of it now."""
        return JobRecord(
            plan=self.plan,
            status=self.status,
            cache_dir=str(self._config.cache_dir),
            endpoint=self._config.endpoint,
            priority=self.priority,
            place=self.place,
            ended_at=self.ended_at,
            max_bytes_per_second=self.bucket.rate,
        )

    def show(self, record: JobRecord) -> None:
        """Take on what another engine, or an earlier one, wrote down, if it is news."""
        status, known = record.status, self._status
        if self.is_live or status.sequence <= known.sequence:
            return
        self.ended_at = record.ended_at
        self.priority, self.place = record.priority, record.place
        self.bucket.rate = record.max_bytes_per_second
        self.gauge.start_from(status.files)
        self.error = revived(status.error)
        if status.pause_reason == REASONS[JobInput.DISK_FULL]:
            self.error = InsufficientSpace(status.pause_reason)
        landed = max(known.downloaded_bytes, status.downloaded_bytes)
        self._publish(replace(status, downloaded_bytes=landed))

    def orphaned(self) -> None:
        """Note that the process in which it ran is gone."""
        if not self.is_live and self.state is JobState.DOWNLOADING:
            self._publish(lost(self._status))

    def stop(self) -> None:
        """Note that it does not run here any more; what was seen of it meanwhile stays."""
        self._status, self.is_live = self.status, False

    def put(self, rank: Rank) -> None:
        """Give it another place in line."""
        self.priority, self.place = -rank.urgency, rank.place
        self._change()

    def bound(self, bytes_per_second: float | None) -> None:
        """Change the bound on its speed."""
        self.bucket.rate = bytes_per_second
        self._change()

    def queued(self, is_queued: bool) -> None:
        """Note that it waits for its turn, or has it."""
        self._change(is_queued=is_queued)

    def tick(self) -> None:
        """Publish the numbers of this moment."""
        self._change()

    def move(self, event: JobInput) -> None:
        """Change its state.

        Raises:
            InvalidState: It makes no sense in the state that it is in.
        """
        state = after(self.state, event)
        self.ended_at = time.time() if state.is_terminal else None
        failed = state is JobState.FAILED and self.error is not None
        self._change(
            state=state,
            completed_at=self.ended_at if state is JobState.COMPLETED else None,
            error=self.error.to_dict() if failed and self.error else None,
            pause_reason=REASONS.get(event),
            is_queued=False,
        )

    def finish_at_once(self, model: LocalModel) -> None:
        """Mark that everything was there already."""
        self.model = model
        self.gauge.all_there()
        self._change(state=JobState.ALREADY_DOWNLOADED)

    def leave_out(self) -> None:
        """Note that it was forgotten, here or by another engine, and end all readers."""
        self.is_forgotten = True
        self.broadcast.close()

    def gone(self) -> InvalidState | JobNotFound:
        """Return why nothing more is to be had from it: it was forgotten, or its engine closed."""
        if self.is_forgotten:
            return JobNotFound(f"{self.job_id} has been forgotten.")
        return InvalidState(f"The engine was closed; {self.job_id} is {self.state}.")

    def _change(self, **fields: object) -> None:
        status = replace(self._status, sequence=self._status.sequence + 1, **fields)  # type: ignore[arg-type]
        self._publish(self.gauge.measured(status))

    def _publish(self, status: JobStatus) -> None:
        self._status = status
        self.broadcast.publish(self, status)
        self._on_status(self, status)
