"""All jobs of an engine: those that run in it, and those that it finds written down."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Coroutine, Iterator

from modelfetch.board import Board
from modelfetch.broadcast import Broadcast
from modelfetch.config import Config
from modelfetch.core.line import moved
from modelfetch.core.record import JobRecord
from modelfetch.desk import Desk
from modelfetch.errors import InvalidState, JobNotFound, ModelFetchError
from modelfetch.jobs import Job
from modelfetch.life import Life
from modelfetch.offload import Offload, held
from modelfetch.scribe import Scribe
from modelfetch.status import JobState
from modelfetch.storage.ledger import Ask, Ledger, Mark
from modelfetch.transfers import Transfers
from modelfetch.turns import Turns
from modelfetch.types import LocalModel, Plan

__all__ = ["Keeper"]

_log = logging.getLogger(__name__)

WATCH_SECONDS = 0.25


class Keeper:
    """The jobs by id, oldest first; those that are over are forgotten in time.

    Args:
        config: How many run at once, how many are kept and for how long, and whose they are.
        offload: Threads for the ledger.
        broadcast: Gets every status of every job.
        transfers: Carries jobs out.
    """

    def __init__(
        self,
        config: Config,
        offload: Offload,
        broadcast: Broadcast,
        transfers: Transfers,
    ) -> None:
        self._config, self._offload, self._broadcast = config, offload, broadcast
        self._ledger = Ledger(config.state_dir)
        self._desk = Desk(Scribe(self._ledger, offload), Turns(config.max_jobs), transfers)
        self._jobs: dict[str, Job] = {}
        self._marks: dict[str, Mark] = {}
        self._door, self._look = asyncio.Lock(), asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_place = 0
        self._hidden: set[str] = set()
        self._is_taking_over = False

    async def open(self) -> None:
        """Read what is written down, and watch it from now on."""
        await self._desk.scribe.open()
        if self._desk.scribe.is_open:
            await self._refresh()
            await self._look_for_orphans()
        self._watching = asyncio.create_task(self._watch(), name="modelfetch watch")

    async def close(self) -> None:
        """Pause what runs here, and end all."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        await asyncio.gather(*(job.life.close() for job in self._jobs.values()))
        if self._tasks:
            await asyncio.wait(self._tasks)

    def __iter__(self) -> Iterator[Job]:
        old = self._old()
        listed = [job for job_id, job in self._jobs.items() if job_id not in old]
        return iter(sorted(listed, key=lambda job: job.status.started_at or 0.0))

    def get(self, job_id: str) -> Job:
        """Return the job with that id.

        Raises:
            JobNotFound: There is none.
        """
        job = self._jobs.get(job_id)
        if job is None or job_id in self._old():
            raise JobNotFound(f"Download job with id '{job_id}' not found")
        return job

    async def find(self, job_id: str) -> Job:
        """Return the job with that id, looking at what is written down too.

        Raises:
            JobNotFound: There is none.
        """
        if job_id not in self._jobs and self._desk.scribe.is_open:
            await self._refresh()
        return self.get(job_id)

    def there_already(self, plan: Plan, model: LocalModel) -> Job:
        """Return a job that is over before it begins, and is not kept."""
        job = self._new(plan, None, 0)
        job.life.board.finish_at_once(model)
        return job

    def next_place(self) -> int:
        """Return the place in line behind all that were given out, here and by earlier engines."""
        taken = (job.life.board.place for job in self._jobs.values())
        self._last_place = max(self._last_place, *taken, 0) + 1
        return self._last_place

    async def job_for(self, plan: Plan, place: int) -> Job:
        """Return the job that fetches the files of `plan`, running: the one there is, or a new one.

        Args:
            plan: What to fetch.
            place: Where a new one stands in line.

        Raises:
            InvalidState: The engine in which it runs does not answer.
        """
        while True:
            async with self._door_open():
                job = self.of(plan)
                if job is None:
                    job = self._new(plan, f"job_{secrets.token_hex(5)}", place)
                    self._jobs[str(job.id)] = job
                    await job.life.begin()
                    return job
            try:
                await job.resume()
                return job
            except InvalidState:
                if not job.state.is_terminal:  # it was being cancelled, or ended by itself
                    raise

    def of(self, plan: Plan) -> Job | None:
        """Return the job that fetches the same files, unless it is over."""
        same = (
            job
            for job in self._jobs.values()
            if not job.state.is_terminal and _key(job.plan) == _key(plan)
        )
        return next(same, None)

    async def forget(self, job_id: str) -> None:
        """Leave out a job that is over, here and in the ledger.

        Raises:
            JobNotFound: There is none.
            InvalidState: It is not over.
            StorageError: The record cannot be removed.
        """
        await self._forget(await self.find(job_id))

    async def move(self, job_id: str, position: int) -> None:
        """Put a job that waits at another position in line.

        Raises:
            JobNotFound: There is none.
            InvalidState: It does not wait in this engine.
        """
        job, line = self.get(job_id), self._desk.turns.waiting()
        if job_id not in {rank.name for rank in line}:
            raise InvalidState(f"{job_id} does not wait for its turn here.")
        before = {rank.name: rank for rank in line}
        for rank in moved(line, str(job.id), max(0, position)):
            if rank != before[rank.name]:
                with contextlib.suppress(InvalidState):  # it has ended meanwhile
                    await self._jobs[rank.name].life.put(rank)

    @contextlib.asynccontextmanager
    async def _door_open(self) -> AsyncIterator[None]:
        """Be the only one who makes a job, knowing all that the others have made."""
        async with self._door:
            if not self._desk.scribe.is_open:
                yield
                return
            async with held(self._offload, self._ledger.door()):
                await self._refresh()
                yield

    def _new(self, plan: Plan, job_id: str | None, place: int) -> Job:
        board = Board(plan, self._config, job_id, place, self._broadcast.publish)
        return Job(Life(board, self._desk))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                if self._desk.scribe.is_open:
                    await self._refresh()
                    await self._look_for_orphans()
                    await self._take_asks()
                await self._remove_old()
            except Exception:
                _log.exception("the records of jobs cannot be watched")

    async def _refresh(self) -> None:
        async with self._look:
            ours = {job_id for job_id, job in self._jobs.items() if job.life.is_ours}
            recorded = {job_id for job_id, job in self._jobs.items() if job.life.is_recorded}
            news = await self._offload(self._ledger.news, self._marks, ours)
            for record in news.records:
                self._learn(record)
            for job_id in recorded - ours - news.marks.keys():
                if job_id in self._jobs and not self._jobs[job_id].life.is_ours:
                    del self._jobs[job_id]  # somebody has forgotten it
            self._marks = news.marks

    def _learn(self, record: JobRecord) -> None:
        is_of_here = (record.cache_dir, record.endpoint) == (
            str(self._config.cache_dir),
            self._config.endpoint,
        )
        job = self._jobs.get(record.job_id)
        if job is None and is_of_here:
            job = self._jobs[record.job_id] = self._new(record.plan, record.job_id, record.place)
        if job is not None and not job.life.is_ours:
            job.life.is_recorded = True
            job.life.board.show(record)

    async def _look_for_orphans(self) -> None:
        """Find jobs whose process is gone, and go on with those that are wanted here."""
        elsewhere = [job for job in self._jobs.values() if not job.life.is_ours]
        running = [str(job.id) for job in elsewhere if job.state is JobState.DOWNLOADING]
        for job_id in await self._offload(self._ledger.orphans, running):
            if not self._jobs[job_id].life.is_ours:
                self._jobs[job_id].life.board.orphaned()
        left = [job for job in elsewhere if self._is_left_to_us(job)]
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
        ours = [job_id for job_id, job in self._jobs.items() if job.life.is_ours]
        for job_id, ask in (await self._offload(self._ledger.take_asks, ours)).items():
            self._spawn(self._answer(self._jobs[job_id], ask))

    async def _answer(self, job: Job, ask: Ask) -> None:
        with contextlib.suppress(ModelFetchError):  # who asked sees what the job is now
            await job.life.control(ask.event, delete=ask.delete)

    def _old(self) -> set[str]:
        """Return those that are over, and so many or so old that they are to be forgotten."""
        over = sorted(
            (job.life.board.ended_at, job_id)
            for job_id, job in self._jobs.items()
            if job.life.board.ended_at is not None and job_id not in self._hidden
        )
        too_many = len(over) - self._config.finished_jobs
        oldest = time.time() - self._config.finished_seconds
        for number, (ended_at, job_id) in enumerate(over):
            if number < too_many or ended_at < oldest:
                self._hidden.add(job_id)
        return self._hidden

    async def _remove_old(self) -> None:
        for job_id in tuple(self._old()):
            with contextlib.suppress(ModelFetchError):  # it is being retried
                if job_id in self._jobs:
                    await self._forget(self._jobs[job_id])
            self._hidden.discard(job_id)

    async def _forget(self, job: Job) -> None:
        async with self._look:  # or what was read before would bring it back
            await job.life.forget()
            self._jobs.pop(str(job.id), None)


def _key(plan: Plan) -> tuple[str, str, frozenset[str]]:
    return plan.repo, plan.commit, frozenset(file.blob_name + file.path for file in plan.files)
