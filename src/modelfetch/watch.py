"""What other engines on the same state folder do with jobs, and what they ask of this one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine

from modelfetch.config import Config
from modelfetch.core.record import JobRecord
from modelfetch.errors import ModelFetchError
from modelfetch.jobs import Job
from modelfetch.offload import carried_out
from modelfetch.scribe import Scribe
from modelfetch.status import JobState
from modelfetch.storage.ledger import Ask, Mark

__all__ = ["Watch"]

_log = logging.getLogger(__name__)

WATCH_SECONDS = 0.25


class Watch:
    """Keeps the jobs of an engine as the records say, and answers notes about those that run here.

    Args:
        config: Whose jobs they are, and whether those that were left go on here.
        scribe: The records.
        jobs: The engine's jobs by id; those of other engines are put in and taken out.
        new: Makes a job of a record.
    """

    def __init__(
        self, config: Config, scribe: Scribe, jobs: dict[str, Job], new: Callable[[JobRecord], Job]
    ) -> None:
        self._config, self._scribe, self._jobs, self._new = config, scribe, jobs, new
        self._marks: dict[str, Mark] = {}
        self._look = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_taking_over = False

    async def open(self, tidy: Callable[[], Awaitable[None]]) -> None:
        """Read what is there, and look again four times a second, with `tidy` each time."""
        await self.refresh()
        await self._look_for_orphans()
        self._watching = asyncio.create_task(self._watch(tidy), name="modelfetch watch")

    async def close(self) -> None:
        """Look no more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})

    async def ended(self) -> None:
        """Return when all that was begun for others is over; after `close`."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def refresh(self) -> None:
        """Take note of all records that are new, changed or gone."""
        async with self._look:
            ours = {job_id for job_id, job in self._jobs.items() if job.life.is_ours}
            recorded = {job_id for job_id, job in self._jobs.items() if job.life.is_recorded}
            # A completed job can only be forgotten.
            completed = {i for i, job in self._jobs.items() if job.state is JobState.COMPLETED}
            news = await self._scribe.news(self._marks, ours | completed)
            if news is None:
                return
            for record in news.records:
                self._learn(record)
            for job_id in recorded - ours - news.marks.keys():
                # A list of a folder may lack a file that is being replaced.
                if await self._scribe.is_forgotten(job_id):
                    job = self._jobs.get(job_id)
                    if job is not None and not job.life.is_ours:
                        self.leave_out(job)
            self._marks = news.marks

    async def forget(self, job: Job) -> None:
        """Leave out a job that is over, here and in the records.

        Raises:
            InvalidState: It is not over.
            StorageError: The record cannot be removed.
        """

        async def work() -> None:
            async with self._look:  # or what was read before would bring it back
                await job.life.forget()
                self.leave_out(job)

        await carried_out(asyncio.ensure_future(work()))

    def leave_out(self, job: Job) -> None:
        """Drop a job that was forgotten, here or by another engine; harmless if not here."""
        if self._jobs.get(str(job.id)) is job:
            del self._jobs[str(job.id)]
        job.life.board.leave_out()

    async def _watch(self, tidy: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                await self.refresh()
                await self._look_for_orphans()
                await self._take_asks()
                await tidy()
            except Exception:
                _log.exception("the records of jobs cannot be watched")

    def _learn(self, record: JobRecord) -> None:
        is_of_here = (record.cache_dir, record.endpoint) == (
            str(self._config.cache_dir),
            self._config.endpoint,
        )
        job = self._jobs.get(record.job_id)
        if job is None and is_of_here:
            job = self._jobs[record.job_id] = self._new(record)
        if job is not None and not job.life.is_ours:
            job.life.is_recorded = True
            job.life.board.show(record)

    async def _look_for_orphans(self) -> None:
        """Find jobs whose process is gone, and go on with those that are wanted here."""
        elsewhere = {job_id: job for job_id, job in self._jobs.items() if not job.life.is_ours}
        running = [job_id for job_id, job in elsewhere.items() if job.state is JobState.DOWNLOADING]
        for job_id in await self._scribe.orphans(running):
            if not elsewhere[job_id].life.is_ours:
                elsewhere[job_id].life.board.orphaned()
        left = [job for job in elsewhere.values() if self._is_left_to_us(job)]
        if left and not self._is_taking_over:
            self._is_taking_over = True
            self._spawn(self._take_over(sorted(left, key=lambda job: job.life.board.rank())))

    def _is_left_to_us(self, job: Job) -> bool:
        is_wanted = job.life.is_wanted_here or self._config.resume_on_start
        return is_wanted and not job.life.is_ours and job.life.board.was_left

    async def _take_over(self, jobs: list[Job]) -> None:
        # One after the other, so that they stand in line as they did.
        try:
            for job in jobs:
                with contextlib.suppress(ModelFetchError):
                    await job.resume()
        finally:
            self._is_taking_over = False

    async def _take_asks(self) -> None:
        ours = {job_id: job for job_id, job in self._jobs.items() if job.life.is_ours}
        for job_id, ask in (await self._scribe.take_asks(ours)).items():
            self._spawn(self._answer(ours[job_id], ask))

    async def _answer(self, job: Job, ask: Ask) -> None:
        with contextlib.suppress(ModelFetchError):  # who asked sees what the job is now
            await job.life.control(ask.event, delete=ask.delete)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
