"""The engine: plans, jobs, and the connections that they share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Collection
from dataclasses import replace
from typing import Any, Self

from modelfetch.broadcast import Broadcast, Callback
from modelfetch.calls import Calls
from modelfetch.config import Config
from modelfetch.core.bounds import SPEED
from modelfetch.jobs import Job
from modelfetch.keeper import Keeper
from modelfetch.offers import ModelVariants
from modelfetch.offload import Lookups, Offload, carried_out
from modelfetch.planner import Planner
from modelfetch.status import JobStatus
from modelfetch.storage.layout import Layout
from modelfetch.transfers import Transfers
from modelfetch.types import Plan

__all__ = ["Engine"]

# Calls that wait for the Hub; few enough to be polite, and none of them keeps a write waiting.
LOOKUP_THREADS = 4


class Engine:
    """Downloads models into one cache.

        async with Engine() as engine:
            job = await engine.download("unsloth/Qwen3-4B-GGUF", "Q4_K_M")
            model = await job.result()

    Leaving the `async with` pauses running jobs, flushed to disk; another engine on the same cache
    goes on from there. An engine belongs to the event loop that entered it.

    Args:
        config: All settings; read from the environment when left out.
        **overrides: Fields of `Config` that differ from it.

    Raises:
        InvalidConfiguration: A setting cannot work.
    """

    def __init__(self, config: Config | None = None, **overrides: Any) -> None:
        self.config = replace(config, **overrides) if config else Config(**overrides)
        self._calls = Calls()
        self._closing: asyncio.Task[None] | None = None
        self._furnish()

    @property
    def is_open(self) -> bool:
        """Whether it takes requests: inside its `async with`, until it is being closed."""
        return self._calls.is_open

    async def __aenter__(self) -> Self:
        if self._closing is not None:
            await carried_out(self._closing)
        self._calls.open()
        if self._closing is not None:
            self._furnish()
        self._closing = None
        try:
            await self._jobs.open()
        except BaseException:
            await self.close()
            raise
        return self

    def _furnish(self) -> None:
        self._broadcast = Broadcast()
        # Each connection has one write under way at most; hashes, flushes and look-ups come on top.
        self._offload = Offload(self.config.connections + 4)
        layout = Layout(self.config.cache_dir, self.config.use_symlinks)
        self._planner = Planner(self.config, self._offload, Lookups(LOOKUP_THREADS), layout)
        self._transfers = Transfers(self.config, self._offload, layout, self._planner.token)
        self._jobs = Keeper(self.config, self._offload, self._broadcast, self._transfers)

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Pause all jobs, flush, and close all connections. Harmless when closed.

        Calls under way end with `InvalidState`. Cancelling the caller does not cancel the closing:
        the cancellation passes on when all is closed.
        """
        if self._closing is None and self._calls.is_open:
            self._closing = asyncio.create_task(self._close(), name="modelfetch close")
        if self._closing is not None:
            await carried_out(self._closing)

    async def _close(self) -> None:
        await self._calls.end()
        try:
            await self._jobs.close()
        finally:
            self._broadcast.close()
            await self._transfers.close()
            self._offload.close()

    async def plan(
        self,
        model: str,
        quantization: str | None = None,
        *,
        revision: str | None = None,
        include_mmproj: bool | None = None,
        allow_conversions: bool | None = None,
    ) -> Plan:
        """Return what would be downloaded; downloads nothing.

        When the Hub cannot be reached and the cache has a complete model that fits, the plan is
        made from that, and says so in its `rule`.

        Args:
            model: `owner/name`, `owner/name:QUANT`, `owner/name@revision`, a link to the Hub, or an
                id of LM Studio's catalogue such as `qwen/qwen3-4b-2507`.
            quantization: Label such as `Q4_K_M` in any case, or a file of the repository; `auto`
                for the best that fits in the memory; `None` for the default order.
            revision: Branch, tag, `refs/pr/N` or commit; `None` for `main`.
            include_mmproj: Whether a multimodal projector belongs to it; the setting if `None`.
            allow_conversions: Whether a repository without GGUF files may be answered with
                somebody's conversion of it; the setting if `None`.

        Raises:
            InvalidReference: `model` is none of those.
            ModelNotFound: Nobody knows it, or it has no GGUF files: `conversions` names others.
            RevisionNotFound, AccessDenied: The Hub said so.
            QuantizationNotFound, AmbiguousQuantization: It says which there are.
            IncompleteModel, InsufficientMemory: See there.
            HubUnavailable: The Hub gave no usable answer, and the cache has no answer either.
            InvalidState: The engine is not open, or was closed meanwhile.
        """
        async with self._calls.call():
            return await self._planner.plan(
                model,
                quantization,
                revision=revision,
                include_mmproj=include_mmproj,
                allow_conversions=allow_conversions,
            )

    async def variants(
        self,
        model: str,
        *,
        revision: str | None = None,
        memory_bytes: int | None = None,
        allow_conversions: bool | None = None,
    ) -> ModelVariants:
        """Return what a repository offers, what of it is on disk, and what fits in the memory.

        Args:
            model: See `plan`; a quantization or file in it is ignored.
            revision: See `plan`.
            memory_bytes: Memory that a model may use; `None` for the setting, else what is free.
            allow_conversions: See `plan`.

        Raises:
            ModelNotFound: Nobody knows it, or it has no GGUF files.
            ModelFetchError: As `plan`.
        """
        async with self._calls.call():
            return await self._planner.variants(model, revision, memory_bytes, allow_conversions)

    async def download(
        self,
        model: str,
        quantization: str | None = None,
        *,
        revision: str | None = None,
        include_mmproj: bool | None = None,
        allow_conversions: bool | None = None,
        max_bytes_per_second: float | None = None,
    ) -> Job:
        """Start a download and return its job, once the plan is known.

        A second request for the same files gets the same job, resumed if it was paused, whichever
        engine on this state folder has it. When `Config.max_jobs` run, it waits in line. When all
        files are in the cache, the job is `already_downloaded`, and over.
        `max_bytes_per_second` bounds a new job, beside the engine's bound; a job that is there
        keeps its own, see `Job.set_limit`. The other arguments are those of `plan`.

        Raises:
            ModelFetchError: As `plan`; and `InsufficientSpace` when the disk has no room for it,
                `StorageError` when the cache cannot be written.
        """
        SPEED.check("max_bytes_per_second", max_bytes_per_second)
        place = self._jobs.next_place()  # who asked first is first, whoever is answered first
        plan = await self.plan(
            model,
            quantization,
            revision=revision,
            include_mmproj=include_mmproj,
            allow_conversions=allow_conversions,
        )
        async with self._calls.call():
            return await self._job_of(plan, place, max_bytes_per_second)

    async def restore(self, repo: str, commit: str, paths: Collection[str]) -> Job:
        """Fetch files of a repository by their names, whatever they are for: to repair a cache.

        Raises:
            IncompleteModel: The repository has no such file at that commit.
            ModelFetchError: As `download`.
        """
        async with self._calls.call():
            place = self._jobs.next_place()
            plan = await self._planner.restoring(repo, commit, paths)
            return await self._job_of(plan, place)

    def jobs(self) -> list[Job]:
        """Return all jobs, oldest first; see `Config` for how long."""
        return list(self._jobs)

    def job(self, job_id: str) -> Job:
        """Return the job with that id.

        Raises:
            JobNotFound: There is none.
        """
        return self._jobs.get(job_id)

    async def find(self, job_id: str) -> Job:
        """Return the job with that id, also one that another process has made a moment ago.

        Raises:
            JobNotFound: There is none.
            InvalidState: The engine is not open, or was closed meanwhile.
        """
        async with self._calls.call():
            return await self._jobs.find(job_id)

    async def forget(self, job_id: str) -> None:
        """Leave a job out from now on; it must be over. What it fetched stays.

        Raises:
            JobNotFound: There is none.
            InvalidState: It is not over; cancel it first.
            StorageError: Its record cannot be removed.
        """
        async with self._calls.call():
            await self._jobs.forget(job_id)

    async def move(self, job_id: str, position: int) -> None:
        """Put a job that waits at another position in line, 0 for next, with the priority there.

        Raises:
            JobNotFound: There is none.
            InvalidState: It does not wait, or not in this engine.
        """
        async with self._calls.call():
            await self._jobs.move(job_id, position)

    def set_limit(self, max_bytes_per_second: float | None) -> None:
        """Change the bound on the engine's speed; `None` for no bound. What runs obeys at once.

        Raises:
            InvalidConfiguration: It is no such number.
            InvalidState: The engine is not open.
        """
        self._calls.check()
        self.config = replace(self.config, max_bytes_per_second=max_bytes_per_second)
        self._transfers.set_rate(max_bytes_per_second)

    def on_status(self, callback: Callback) -> Callable[[], None]:
        """Call back now with the current status of every job, then with all later ones.

        Args:
            callback: Called in the event loop; must not block. Its errors are logged.

        Returns:
            What ends it.

        Raises:
            InvalidState: The engine is not open.
        """
        self._calls.check()
        return self._broadcast.call(callback, *(job.status for job in self._jobs))

    async def events(self) -> AsyncGenerator[JobStatus, None]:
        """Yield the current status of every job, then all later ones, until the engine closes."""
        self._calls.check()
        current = [(job.life.board, job.status) for job in self._jobs]
        async with contextlib.aclosing(self._broadcast.read(*current)) as statuses:
            async for status in statuses:
                yield status

    async def _job_of(self, plan: Plan, place: int, rate: float | None = None) -> Job:
        model = await self._transfers.find(plan)
        if model is not None:
            return self._jobs.there_already(plan, model)
        await self._transfers.prepare(plan, is_new=self._jobs.of(plan) is None)
        await self._planner.remember(plan)
        return await self._jobs.job_for(plan, place, rate)
