"""The engine: plans, jobs, and the connections that they share."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Collection, Mapping
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self

from modelfetch.background import Background
from modelfetch.broadcast import Broadcast
from modelfetch.chooser import survey_here
from modelfetch.config import Config
from modelfetch.core.pace import TokenBucket
from modelfetch.errors import InvalidState, JobNotFound
from modelfetch.gatherer import Gatherer, published
from modelfetch.hubcall import user_agent
from modelfetch.jobs import Job
from modelfetch.offers import ModelVariants
from modelfetch.offload import Offload
from modelfetch.planner import Planner
from modelfetch.shared import FileProgress, Shared
from modelfetch.status import JobStatus
from modelfetch.storage import snapshots
from modelfetch.storage.layout import Layout
from modelfetch.transport import Transport
from modelfetch.types import LocalModel, Plan

__all__ = ["Engine"]


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
        self._layout = Layout(self.config.cache_dir, self.config.use_symlinks)
        self._jobs: dict[str, Job] = {}
        self._broadcast = Broadcast()
        self._is_open = False

    async def __aenter__(self) -> Self:
        if self._is_open:
            raise InvalidState("The engine is open already.")
        # Each connection has one write under way at most; hashes, flushes and look-ups come on top.
        self._offload = Offload(self.config.connections + 4)
        self._planner = Planner(self.config, self._offload, self._layout)
        self._permits = asyncio.Semaphore(self.config.connections)
        self._bucket = TokenBucket(self.config.max_bytes_per_second)
        self._background = Background(self._offload)
        self._shared: Shared | None = None
        self._is_open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Pause all jobs, flush, and close all connections. Harmless when closed."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            await asyncio.gather(*(job.close() for job in self._jobs.values()))
        finally:
            self._broadcast.close()
            if self._shared is not None:
                await self._background.run(self._shared.transport.close)
            await self._background.close()
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
            QuantizationNotFound, AmbiguousQuantization, IncompleteModel, InsufficientMemory: See
                there.
            HubUnavailable: The Hub gave no usable answer, and the cache has no answer either.
        """
        self._must_be_open()
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
            InvalidReference, RevisionNotFound, AccessDenied, HubUnavailable: As `plan`.
        """
        self._must_be_open()
        found = await self._planner.listing(model, revision, allow_conversions)
        offered = await self._offload(
            survey_here, self.config, self._layout, found.snapshot, memory_bytes
        )
        return replace(offered, resolution=found.reason)

    async def download(
        self,
        model: str,
        quantization: str | None = None,
        *,
        revision: str | None = None,
        include_mmproj: bool | None = None,
        allow_conversions: bool | None = None,
    ) -> Job:
        """Start a download and return its job, once the plan is known.

        A second request for the same files gets the same job, resumed if it was paused. When all
        files are in the cache, the job is `already_downloaded`, and over.

        Args:
            model: See `plan`.
            quantization: See `plan`.
            revision: See `plan`.
            include_mmproj: See `plan`.
            allow_conversions: See `plan`.

        Raises:
            ModelFetchError: As `plan`; and `InsufficientSpace` when the disk has no room for it,
                `StorageError` when the cache cannot be written.
        """
        plan = await self.plan(
            model,
            quantization,
            revision=revision,
            include_mmproj=include_mmproj,
            allow_conversions=allow_conversions,
        )
        return await self._begun(plan)

    async def restore(self, repo: str, commit: str, paths: Collection[str]) -> Job:
        """Fetch files of a repository by their names, whatever they are for: to repair a cache.

        Raises:
            IncompleteModel: The repository has no such file at that commit.
            ModelFetchError: As `download`.
        """
        self._must_be_open()
        return await self._begun(await self._planner.restoring(repo, commit, paths))

    def jobs(self) -> list[Job]:
        """Return all jobs of this engine, oldest first."""
        return list(self._jobs.values())

    def job(self, job_id: str) -> Job:
        """Return the job with that id.

        Raises:
            JobNotFound: There is none.
        """
        try:
            return self._jobs[job_id]
        except KeyError:
            raise JobNotFound(f"Download job with id '{job_id}' not found") from None

    async def events(self) -> AsyncGenerator[JobStatus, None]:
        """Yield the current status of every job, then all later ones, until the engine closes."""
        current = (job.status for job in self._jobs.values())
        async for status in self._broadcast.read(*current):
            yield status

    async def _begun(self, plan: Plan) -> Job:
        if not await self._offload(snapshots.missing, self._layout, plan):
            return await self._finished(plan)
        await self._offload(snapshots.prepare, self._layout, plan)
        await self._planner.remember(plan)
        running = self._job_for(plan)
        if running is None:
            await self._offload(snapshots.check_space, self._layout, plan)
            running = self._job_for(plan)
        if running is not None:
            await running.resume()
            return running
        self._must_be_open()
        return self._started(plan)

    def _must_be_open(self) -> None:
        if not self._is_open:
            raise InvalidState("The engine is not open; use it inside 'async with Engine() as …'.")

    def _job_for(self, plan: Plan) -> Job | None:
        same = (
            job
            for job in self._jobs.values()
            if not job.state.is_terminal and _key(job.plan) == _key(plan)
        )
        return next(same, None)

    def _started(self, plan: Plan) -> Job:
        job_id = f"job_{secrets.token_hex(5)}"
        job = self._new_job(job_id, plan)
        self._jobs[job_id] = job
        job.start()
        return job

    async def _finished(self, plan: Plan) -> Job:
        model = await self._offload(snapshots.link, self._layout, plan)
        await self._offload(snapshots.discard_partials, self._layout, plan)
        model = await published(self._offload, self._layout, self.config, model)
        job = self._new_job(None, plan)
        job.finish_at_once(model)
        return job

    def _new_job(self, job_id: str | None, plan: Plan) -> Job:
        return Job(
            job_id,
            plan,
            run=partial(self._gather, plan),
            on_status=self._broadcast.publish,
            discard=partial(self._offload, snapshots.discard_partials, self._layout, plan),
        )

    async def _gather(self, plan: Plan, progress: Mapping[str, FileProgress]) -> LocalModel:
        token = await self._planner.token()

        async def gather() -> LocalModel:
            shared = self._connected(token)
            return await Gatherer(shared, self._layout, self.config, plan).run(progress)

        return await self._background.run(gather)

    def _connected(self, token: str | None) -> Shared:
        if self._shared is None:
            transport = Transport(self.config, token, user_agent(self.config))
            self._shared = Shared(
                transport, self._offload, self._permits, self._bucket, self.config.retry
            )
        return self._shared


def _key(plan: Plan) -> tuple[str, str, frozenset[str]]:
    return plan.repo, plan.commit, frozenset(file.blob_name + file.path for file in plan.files)
