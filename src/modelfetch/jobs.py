"""A job: one request being carried out, and the handle that its user holds."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable

from modelfetch.broadcast import Callback
from modelfetch.core.bounds import SPEED
from modelfetch.core.inspection import described_by, metadata_of
from modelfetch.core.job import JobInput
from modelfetch.errors import InsufficientSpace, StorageError
from modelfetch.life import Life
from modelfetch.status import JobState, JobStatus
from modelfetch.types import LocalModel, ModelMetadata

__all__ = ["Job"]


class Job:
    """A download and its states; made by `Engine.download`.

    It may run in another process that shares the state folder: then its status is at most a second
    or two old, and what is asked of it takes a moment more.

    Each control may be called at any time and again. Cancelling who waits for one does not stop it
    half-way: the cancellation passes on when it is done. What each does in which state:
    `modelfetch.core.job`. A job that was forgotten, here or by another engine, still shows how it
    was, and every control of it raises `JobNotFound`.

    Args:
        life: The job itself.

    Attributes:
        id: `job_` and ten hex digits; `None` when everything was there already.
        plan: What it fetches.
    """

    def __init__(self, life: Life) -> None:
        self._life = life
        self.id, self.plan = life.board.job_id, life.board.plan

    @property
    def life(self) -> Life:
        """The job itself; for the engine."""
        return self._life

    @property
    def status(self) -> JobStatus:
        """How the job is doing now."""
        return self._life.board.status

    @property
    def state(self) -> JobState:
        """The state it is in."""
        return self._life.board.state

    @property
    def metadata(self) -> ModelMetadata | None:
        """What the model says of itself, from when its first bytes are there; `None` before."""
        board = self._life.board
        if board.model is not None:
            return board.model.metadata
        return metadata_of(board.gauge.files[path].header for path in described_by(self.plan))

    @property
    def priority(self) -> int:
        """Jobs of higher priority run earlier; 0 unless somebody set it."""
        return self._life.board.priority

    @property
    def max_bytes_per_second(self) -> float | None:
        """The bound on the speed of this job; `None` when there is none but the engine's."""
        return self._life.board.bucket.rate

    async def events(self) -> AsyncGenerator[JobStatus, None]:
        """Yield the current status, then later ones; ends after a terminal one.

        A reader may be slow, or stop: progress merges, changes of state do not get lost. Ends too
        when the engine is closed, or the job forgotten.
        """
        board = self._life.board
        async with contextlib.aclosing(board.broadcast.read((board, self.status))) as statuses:
            async for status in statuses:
                yield status
                if status.state.is_terminal:
                    return

    def on_status(self, callback: Callback) -> Callable[[], None]:
        """Call back now with the current status, then with each later one, in the event loop.

        Args:
            callback: Must not block; its errors are logged.

        Returns:
            What ends it.
        """
        return self._life.board.broadcast.call(callback, self.status)

    async def wait(self) -> JobStatus:
        """Return the terminal status, once there is one.

        Raises:
            InvalidState: The engine was closed before.
            JobNotFound: It ran in another engine, which has forgotten it before its end was seen.
        """
        async with contextlib.aclosing(self.events()) as statuses:
            async for status in statuses:
                if status.state.is_terminal:
                    return status
        raise self._life.board.gone()

    async def result(self) -> LocalModel:
        """Return the model, once it is complete and verified.

        Raises:
            ModelFetchError: The job failed; `JobCancelled` when somebody cancelled it.
            InsufficientSpace: The disk is full. The job is paused, and can be resumed.
            StorageError: It was completed, and its files have been removed since.
            InvalidState, JobNotFound: As `wait`.
        """
        board = self._life.board
        async with contextlib.aclosing(self.events()) as statuses:
            async for status in statuses:
                is_full = isinstance(board.error, InsufficientSpace)
                if board.error is not None and (status.state.is_terminal or is_full):
                    raise board.error
                if status.state.is_terminal:
                    break
        if board.model is not None:
            return board.model
        if not (self.state.is_terminal or board.is_forgotten):
            raise board.gone()
        model = await self._life.desk.carry_out(self._look_up(), f"modelfetch look-up of {self.id}")
        if model is None and not self.state.is_terminal:
            raise board.gone()
        if model is None:
            raise StorageError(
                f"The files of {self.id} are not in the cache any more.",
                hint="Ask for the model again.",
            )
        board.model = model
        return model

    async def _look_up(self) -> LocalModel | None:
        desk = self._life.desk
        if desk.is_closed:
            raise self._life.board.gone()
        return await desk.transfers.find(self.plan)

    async def pause(self) -> None:
        """Stop, keeping and flushing all that came. Harmless when paused.

        Raises:
            InvalidState: The job is over.
        """
        if not (self._life.desk.is_closed and self.state is JobState.PAUSED):
            await self._life.control(JobInput.PAUSE)

    async def resume(self) -> None:
        """Go on after a pause, or wait in line for it. Harmless when running.

        Raises:
            InvalidState: The job is over, or the engine is closed.
        """
        await self._life.control(JobInput.RESUME)

    async def cancel(self, delete: bool = False) -> None:
        """End the job as failed, with the error `cancelled`. Harmless when cancelled.

        Args:
            delete: Whether to remove what came; otherwise a later job goes on from it.

        Raises:
            InvalidState: The job is over, or the engine is closed.
        """
        await self._life.control(JobInput.CANCEL, delete=delete)

    async def retry(self) -> None:
        """Begin a failed or cancelled job again, with what it had. Harmless when running.

        Raises:
            InvalidState: The job is not failed, or the engine is closed.
        """
        await self._life.control(JobInput.RETRY)

    async def prioritize(self, priority: int) -> None:
        """Let it run before all that wait with a smaller priority; what runs is not stopped.

        Raises:
            InvalidState: The job is over, it runs in another process, or the engine is closed.
        """
        rank = self._life.board.rank()._replace(urgency=-priority)
        await self._life.amend(lambda board: board.put(rank))

    async def set_limit(self, max_bytes_per_second: float | None) -> None:
        """Change the bound on the speed of this job; `None` for no bound. It obeys at once.

        It holds beside the engine's, also after a pause, and outlives the process.

        Raises:
            InvalidConfiguration: It is no such number.
            InvalidState: The job is over, it runs in another process, or the engine is closed.
        """
        SPEED.check("max_bytes_per_second", max_bytes_per_second)
        await self._life.amend(lambda board: board.bound(max_bytes_per_second))
