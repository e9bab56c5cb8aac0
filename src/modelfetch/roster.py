"""The jobs that an engine knows."""

from __future__ import annotations

import time
from collections.abc import Iterator

from modelfetch.config import Config
from modelfetch.errors import InvalidState, JobNotFound
from modelfetch.jobs import Job
from modelfetch.types import Plan

__all__ = ["Roster"]


class Roster:
    """Jobs by id, oldest first; those that are over are forgotten in time.

    Args:
        config: How many of them are kept, and for how long.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._jobs: dict[str, Job] = {}

    def __iter__(self) -> Iterator[Job]:
        self._forget_old()
        return iter(list(self._jobs.values()))

    def add(self, job: Job) -> None:
        """Take in a job that has an id."""
        self._forget_old()
        assert job.id is not None
        self._jobs[job.id] = job

    def get(self, job_id: str) -> Job:
        """Return the job with that id.

        Raises:
            JobNotFound: There is none.
        """
        self._forget_old()
        try:
            return self._jobs[job_id]
        except KeyError:
            raise JobNotFound(f"Download job with id '{job_id}' not found") from None

    def of(self, plan: Plan) -> Job | None:
        """Return the job that fetches the same files, unless it is over."""
        same = (
            job
            for job in self._jobs.values()
            if not job.state.is_terminal and _key(job.plan) == _key(plan)
        )
        return next(same, None)

    def forget(self, job_id: str) -> None:
        """Leave out a job that is over.

        Raises:
            JobNotFound: There is none.
            InvalidState: It is not over.
        """
        job = self.get(job_id)
        if not job.state.is_terminal:
            raise InvalidState(f"{job_id} is {job.state}; only a job that is over is forgotten.")
        del self._jobs[job_id]

    def _forget_old(self) -> None:
        over = sorted(
            (job.ended_at, job_id) for job_id, job in self._jobs.items() if job.ended_at is not None
        )
        too_many = len(over) - self._config.finished_jobs
        oldest = time.time() - self._config.finished_seconds
        for number, (ended_at, job_id) in enumerate(over):
            if number < too_many or ended_at < oldest:
                del self._jobs[job_id]


def _key(plan: Plan) -> tuple[str, str, frozenset[str]]:
    return plan.repo, plan.commit, frozenset(file.blob_name + file.path for file in plan.files)
