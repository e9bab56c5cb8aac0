"""What the API does with an engine: every call of the engine is here."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from modelfetch.engine import Engine
from modelfetch.jobs import Job
from modelfetch.status import JobStatus
from modelfetch.web.wire import job_object

__all__ = ["Actions"]


class Actions:
    """The operations of the table that answer with JSON.

    All raise `ModelFetchError`, as the engine does.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def start(self, model: str, quantization: str | None = None) -> dict[str, Any]:
        """Start or join a download; return its job object."""
        job = await self._engine.download(model, quantization)
        return job_object(job.status)

    async def listing(self) -> dict[str, Any]:
        """Return the job objects of all jobs."""
        return {"jobs": [job_object(job.status) for job in self._engine.jobs()]}

    async def status(self, job_id: str) -> dict[str, Any]:
        """Return the job object of one job."""
        return job_object((await self._job(job_id)).status)

    async def pause(self, job_id: str) -> dict[str, Any]:
        """Pause a job, and return it as it is then."""
        job = await self._job(job_id)
        await job.pause()
        return job_object(job.status)

    async def resume(self, job_id: str) -> dict[str, Any]:
        """Resume a job, and return it as it is then."""
        job = await self._job(job_id)
        await job.resume()
        return job_object(job.status)

    async def cancel(self, job_id: str, delete_partial: bool = False) -> dict[str, Any]:
        """Cancel a job, and return it as it is then."""
        job = await self._job(job_id)
        await job.cancel(delete=delete_partial)
        return job_object(job.status)

    async def current(self, job_id: str) -> JobStatus:
        """Return the status of one job."""
        return (await self._job(job_id)).status

    def statuses(self, job_id: str | None) -> AsyncGenerator[JobStatus, None]:
        """Return the statuses of one job that is known here, or of all."""
        return self._engine.events() if job_id is None else self._engine.job(job_id).events()

    async def _job(self, job_id: str) -> Job:
        # Another worker of this server may have made it a moment ago.
        if self._engine.is_open:
            return await self._engine.find(job_id)
        return self._engine.job(job_id)
