"""A job: one request being carried out, and the handle that its user holds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import replace

from modelfetch.broadcast import Broadcast
from modelfetch.core.job import JobInput, after
from modelfetch.errors import InsufficientSpace, InvalidState, JobCancelled, ModelFetchError
from modelfetch.gauge import Gauge
from modelfetch.offload import carried_out
from modelfetch.shared import FileProgress
from modelfetch.status import JobState, JobStatus
from modelfetch.types import LocalModel, Plan

__all__ = ["Job"]

_log = logging.getLogger(__name__)

TICK_SECONDS = 0.1
Run = Callable[[Mapping[str, FileProgress]], Awaitable[LocalModel]]


class Job:
    """A download and its states; made by `Engine.download`.

    Args:
        job_id: Its id; `None` when everything was there already.
        plan: What it fetches.
        run: Does the work, reporting to one `FileProgress` for each path of the plan.
        on_status: Told of every status.
        discard: Removes the partials of the job.

    Attributes:
        id: `job_` and ten hex digits; `None` when everything was there already.
        plan: What it fetches.
        ended_at: When it was over, in seconds since the epoch; `None` before.
    """

    def __init__(
        self,
        job_id: str | None,
        plan: Plan,
        run: Run,
        on_status: Callable[[Job, JobStatus], None],
        discard: Callable[[], Awaitable[None]],
    ) -> None:
        self.id, self.plan = job_id, plan
        self._run, self._discard, self._on_status = run, discard, on_status
        self._gauge = Gauge(plan)
        self._broadcast = Broadcast()
        self._task: asyncio.Task[None] | None = None
        self._stop_input = JobInput.PAUSE
        self._is_stopping = False
        self._discarding: asyncio.Future[None] | None = None
        self._model: LocalModel | None = None
        self._error: ModelFetchError | None = None
        self._is_closed = False
        self.ended_at: float | None = None
        self._status = JobStatus(
            state=JobState.DOWNLOADING,
            job_id=job_id,
            total_size_bytes=plan.total_size_bytes,
            started_at=time.time(),
        )

    @property
    def status(self) -> JobStatus:
        """How the job is doing now."""
        return self._gauge.measured(self._status)

    @property
    def state(self) -> JobState:
        """The state it is in."""
        return self._status.state

    async def events(self) -> AsyncGenerator[JobStatus, None]:
        """Yield the current status, then later ones; ends after a terminal one.

        A reader may be slow, or stop: progress merges, changes of state do not get lost. Ends too
        when the engine is closed.
        """
        async with contextlib.aclosing(self._broadcast.read((self, self.status))) as statuses:
            async for status in statuses:
                yield status
                if status.state.is_terminal:
                    return

    async def wait(self) -> JobStatus:
        """Return the terminal status, once there is one.

        Raises:
            InvalidState: The engine was closed before.
        """
        async with contextlib.aclosing(self.events()) as statuses:
            async for status in statuses:
                if status.state.is_terminal:
                    return status
        raise InvalidState(f"The engine was closed; {self.id} is {self.state}.")

    async def result(self) -> LocalModel:
        """Return the model, once it is complete and verified.

        Raises:
            ModelFetchError: The job failed; `JobCancelled` when somebody cancelled it.
            InsufficientSpace: The disk is full. The job is paused, and can be resumed.
            InvalidState: The engine was closed before the end.
        """
        async with contextlib.aclosing(self.events()) as statuses:
            async for status in statuses:
                if status.state.is_terminal or self._is_out_of_space:
                    break
        if self._model is not None:
            return self._model
        raise self._error or InvalidState(f"The engine was closed; {self.id} is {self.state}.")

    async def pause(self) -> None:
        """Stop, keeping and flushing all that came. Harmless when paused.

        Raises:
            InvalidState: The job is over.
        """
        after(self.state, JobInput.PAUSE)
        await self._stop(JobInput.PAUSE)

    async def resume(self) -> None:
        """Go on after a pause. Harmless when running.

        Raises:
            InvalidState: The job is over, or the engine is closed.
        """
        if self._is_stopping and self._task is not None:
            # A pause is under way, perhaps of a caller who has left: the last word counts.
            await asyncio.wait({self._task})
        after(self.state, JobInput.RESUME)
        self._must_be_open()
        if self.state is JobState.PAUSED:
            self._error = None
            self._move(JobInput.RESUME)
            self.start()

    async def cancel(self, delete: bool = False) -> None:
        """End the job as failed, with the error `cancelled`. Harmless when cancelled.

        Args:
            delete: Whether to remove what came; otherwise a later job goes on from it.

        Raises:
            InvalidState: The job is over, or the engine is closed.
        """
        if not self._is_cancelled:
            after(self.state, JobInput.CANCEL)
            self._must_be_open()
            await self._stop(JobInput.CANCEL)
        if delete:
            self._must_be_open()
            await self._discarded()

    def start(self) -> None:
        """Begin or go on; for the engine."""
        self._is_stopping = False
        self._task = asyncio.create_task(self._drive(), name=f"modelfetch {self.id}")
        self._task.add_done_callback(self._never_began)

    def finish_at_once(self, model: LocalModel) -> None:
        """Mark that everything was there already; for the engine."""
        self._model = model
        self._gauge.all_there()
        self._publish(replace(self._status, state=JobState.ALREADY_DOWNLOADED))

    async def close(self) -> None:
        """Pause if running, and end all readers; for the engine."""
        self._is_closed = True
        if self.state is JobState.DOWNLOADING:
            await self._stop(JobInput.PAUSE)
        if self._discarding is not None:
            await asyncio.wait({self._discarding})
        self._broadcast.close()

    def _must_be_open(self) -> None:
        if self._is_closed:
            raise InvalidState("The engine is closed; open one, and ask for the model again.")

    @property
    def _is_cancelled(self) -> bool:
        return isinstance(self._error, JobCancelled)

    async def _discarded(self) -> None:
        if self._discarding is None or self._discarding.done():
            self._discarding = asyncio.ensure_future(self._discard())
        await carried_out(self._discarding)

    @property
    def _is_out_of_space(self) -> bool:
        return self.state is JobState.PAUSED and isinstance(self._error, InsufficientSpace)

    async def _stop(self, reason: JobInput) -> None:
        # The task itself makes the move, so that a caller who is cancelled here leaves no job
        # without a task that still says "downloading".
        while self._task is not None and not self._task.done():
            self._stop_input, self._is_stopping = reason, True
            self._task.cancel()
            await asyncio.wait({self._task})
        if not self.state.is_terminal and self.state is not after(self.state, reason):
            self._end(reason)

    async def _drive(self) -> None:
        ticking = asyncio.create_task(self._tick())
        try:
            self._model = await self._run(self._gauge.files)
            self._move(JobInput.FINISH)
        except asyncio.CancelledError:
            self._end(self._stop_input)
        except InsufficientSpace as error:
            self._error = error
            self._move(JobInput.DISK_FULL)
        except ModelFetchError as error:
            # What it was raised from may hold a signed URL and the token.
            error.__context__ = None
            self._error = error
            self._move(JobInput.FAIL)
        except Exception as error:
            _log.exception("a job failed for a reason that nobody foresaw")
            self._error = ModelFetchError("Something inside modelfetch failed; its log has more.")
            self._error.__cause__ = error
            self._move(JobInput.FAIL)
        finally:
            ticking.cancel()
            await asyncio.wait({ticking})

    def _never_began(self, task: asyncio.Task[None]) -> None:
        # A task that is cancelled before its first step runs none of its code.
        if task.cancelled():
            self._end(self._stop_input)

    def _end(self, reason: JobInput) -> None:
        if reason is JobInput.CANCEL:
            self._error = JobCancelled(f"{self.id} was cancelled.")
        self._move(reason)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._publish(self._status)

    def _move(self, event: JobInput) -> None:
        state = after(self.state, event)
        self.ended_at = time.time() if state.is_terminal else None
        failed = state is JobState.FAILED and self._error is not None
        self._publish(
            replace(
                self._status,
                state=state,
                completed_at=time.time() if state is JobState.COMPLETED else None,
                error=self._error.to_dict() if failed and self._error else None,
                pause_reason=_REASONS.get(event),
            )
        )

    def _publish(self, status: JobStatus) -> None:
        self._status = self._gauge.measured(replace(status, sequence=status.sequence + 1))
        self._broadcast.publish(self, self._status)
        self._on_status(self, self._status)


_REASONS = {
    JobInput.PAUSE: "Somebody asked for it.",
    JobInput.DISK_FULL: "The disk is full; resume when there is room.",
}
