"""All jobs of an engine: those that run in it, and those that it finds written down."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Iterator
from functools import partial

from modelfetch.board import Board
from modelfetch.broadcast import Broadcast
from modelfetch.config import Config
from modelfetch.core.line import moved
from modelfetch.core.record import JobRecord
from modelfetch.desk import Desk
from modelfetch.errors import InvalidState, JobNotFound, ModelFetchError
from modelfetch.jobs import Job
from modelfetch.life import Life
from modelfetch.offload import Offload
from modelfetch.scribe import Scribe
from modelfetch.storage.ledger import Ledger
from modelfetch.transfers import Transfers
from modelfetch.turns import Turns
from modelfetch.types import LocalModel, Plan
from modelfetch.watch import Watch

__all__ = ["Keeper"]


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
        self._config, self._broadcast = config, broadcast
        self._scribe = Scribe(Ledger(config.state_dir), offload)
        self._desk = Desk(self._scribe, Turns(config.max_jobs), transfers)
        self._jobs: dict[str, Job] = {}
        self._watch = Watch(config, self._scribe, self._jobs, self._known)
        self._door = asyncio.Lock()
        self._last_place = 0
        self._hidden: set[str] = set()

    async def open(self) -> None:
        """Read what is written down, and watch it from now on."""
        await self._scribe.open()
        await self._watch.open(self._remove_old)

    async def close(self) -> None:
        """Pause what runs here, and end all."""
        await self._watch.close()
        await self._desk.close()
        await asyncio.gather(*(job.life.close() for job in self._jobs.values()))
        await self._watch.ended()

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
        if job_id not in self._jobs:
            await self._watch.refresh()
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

    async def job_for(self, plan: Plan, place: int, max_bytes_per_second: float | None) -> Job:
        """Return the job that fetches the files of `plan`, running: the one there is, or a new one.

        Args:
            plan: What to fetch.
            place: Where a new one stands in line.
            max_bytes_per_second: The bound on the speed of a new one.

        Raises:
            InvalidState: The engine in which it runs does not answer.
        """
        while True:
            # Nobody else makes a job now, here or elsewhere, and all that were made are known.
            async with self._door, self._scribe.door():
                await self._watch.refresh()
                job = self.of(plan)
                if job is None:
                    job = self._new(plan, f"job_{secrets.token_hex(5)}", place)
                    job.life.board.bucket.rate = max_bytes_per_second
                    self._jobs[str(job.id)] = job
                    await job.life.begin()
                    return job
            try:
                await job.resume()
                return job
            except JobNotFound:  # another engine has forgotten it
                self._watch.leave_out(job)
            except InvalidState:
                if not job.state.is_terminal:  # it was being cancelled, or ended by itself
                    raise

    def of(self, plan: Plan) -> Job | None:
        """Return the job that fetches the same files, unless it is over."""
        files = _files(plan)
        same = (
            job
            for job in self._jobs.values()
            if job.plan.commit == plan.commit
            and job.plan.repo == plan.repo
            and not job.state.is_terminal
            and _files(job.plan) == files
        )
        return next(same, None)

    async def forget(self, job_id: str) -> None:
        """Leave out a job that is over, here and in the ledger.

        Raises:
            JobNotFound: There is none.
            InvalidState: It is not over.
            StorageError: The record cannot be removed.
        """
        await self._watch.forget(await self.find(job_id))

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
                    await self._jobs[rank.name].life.amend(partial(Board.put, rank=rank))

    def _known(self, record: JobRecord) -> Job:
        return self._new(record.plan, record.job_id, record.place)

    def _new(self, plan: Plan, job_id: str | None, place: int) -> Job:
        board = Board(plan, self._config, job_id, place, self._broadcast.publish)
        return Job(Life(board, self._desk))

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
                    await self._watch.forget(self._jobs[job_id])
            self._hidden.discard(job_id)


def _files(plan: Plan) -> frozenset[str]:
    return frozenset(file.blob_name + file.path for file in plan.files)
