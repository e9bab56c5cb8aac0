"""A job knows what it fetches as soon as the first bytes are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.helpers import FILE, LABEL, REPO, MiB, coded

from modelfetch import Engine, JobState, ModelMetadata
from modelfetch.testing import BytesContent, FakeHub, build_gguf

Settings = Callable[..., dict[str, Any]]


async def test_a_job_knows_its_model_long_before_the_end(hub: FakeHub, engine: Engine) -> None:
    content = build_gguf(
        size_bytes=16 * MiB, architecture="qwen3", metadata={"qwen3.context_length": 40960}
    )
    hub.add(REPO, {FILE: content})
    hub.rate = MiB
    job = await engine.download(REPO, LABEL)
    assert job.metadata is None
    async for _ in job.events():
        if job.metadata is not None:
            break
    assert job.status.downloaded_bytes < 8 * MiB
    known = job.metadata
    assert known == ModelMetadata("qwen3", "tiny", known.parameter_count, 40960, "Q4_K_M")
    assert known.parameter_count is not None
    assert 16 * MiB - 4096 < known.parameter_count < 16 * MiB
    hub.rate = None
    assert (await job.result()).metadata == job.metadata == known
    assert not {"metadata", "architecture"} & set(job.status.to_dict())


async def test_a_plan_has_what_the_hub_says(hub: FakeHub, settings_for: Settings) -> None:
    hub.add(REPO, {FILE: coded(MiB)})
    settings = settings_for(hub, check_gguf=False)
    told = {"total": 4022468096, "architecture": "qwen3", "context_length": 40960}
    for gguf, known in [
        (None, None),
        (told, ModelMetadata("qwen3", None, 4022468096, 40960)),
        ({**told, "total": -1, "architecture": "x" * 65}, ModelMetadata(context_length=40960)),
        ({**told, "total": True, "context_length": "long"}, ModelMetadata("qwen3")),
        ({"architecture": ["qwen3"]}, ModelMetadata()),
    ]:
        hub.repos[REPO].gguf = gguf
        async with Engine(**settings) as engine:
            assert (await engine.plan(REPO, LABEL)).metadata == known
    hub.repos[REPO].gguf = told
    async with Engine(**settings) as engine:
        job = await engine.download(REPO, LABEL, max_bytes_per_second=1)
    async with Engine(**settings) as engine:  # and it is written down
        assert engine.job(str(job.id)).plan.metadata == job.plan.metadata != None  # noqa: E711


async def test_a_model_that_was_there_has_it_too(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, {FILE: build_gguf(size_bytes=MiB)})
    first = await (await engine.download(REPO, LABEL)).result()
    again = await engine.download(REPO, LABEL)
    assert again.state is JobState.ALREADY_DOWNLOADED
    assert again.metadata == (await again.result()).metadata == first.metadata
    assert first.metadata is not None


async def test_shards_and_their_projector(hub: FakeHub, engine: Engine) -> None:
    shards = {f"m-Q8_0-0000{n}-of-00002.gguf": build_gguf(split=(n - 1, 2), seed=n) for n in (1, 2)}
    hub.add(REPO, {**shards, "mmproj-F16.gguf": build_gguf(architecture="clip", size_bytes=MiB)})
    metadata = (await (await engine.download(REPO, "Q8_0")).result()).metadata
    assert metadata is not None
    assert metadata.architecture == "llama"
    assert metadata.parameter_count is not None
    assert 4096 < metadata.parameter_count < 8192


async def test_byte_parts(hub: FakeHub, engine: Engine) -> None:
    whole = build_gguf(size_bytes=9000)
    cuts = [(0, 5000), (5000, 9000)]
    hub.add(
        REPO,
        {
            f"m.Q8_0.gguf.part{n}of2": BytesContent(whole.read(*cut))
            for n, cut in enumerate(cuts, 1)
        },
    )
    metadata = (await (await engine.download(REPO, "Q8_0")).result()).metadata
    assert metadata is not None
    assert metadata.architecture == "llama"


async def test_a_file_without_a_head_has_none(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, {FILE: coded(MiB)})
    job = await engine.download(REPO, LABEL)
    assert (await job.result()).metadata is None
    assert job.metadata is None
