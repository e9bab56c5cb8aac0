"""`Engine.variants` and `auto` against the FakeHub and a real cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, coded

from modelfetch import (
    Engine,
    FileRole,
    Fit,
    InsufficientMemory,
    InvalidConfiguration,
    ModelNotFound,
    ModelVariants,
    Offline,
    Plan,
    VariantInfo,
    chooser,
)
from modelfetch.testing import FakeHub, PositionCoded

GB, GiB = 10**9, 1 << 30
MEMORY = 7_500_000_000  # in which 5 GB with 1 GB of projector are tight

Settings = Callable[..., dict[str, Any]]


def large(size: int, seed: int = 1) -> PositionCoded:
    """A file that is only listed, never sent."""
    return PositionCoded(size, seed, sha256=f"{seed:064x}")


FILES = {
    "m-Q8_0.gguf": large(9 * GB, 1),
    "m-Q4_K_M.gguf": large(5 * GB, 2),
    "m-Q2_K.gguf": large(3 * GB, 3),
    "mmproj-F16.gguf": large(GB, 4),
    "MTP/mtp-m-Q4_0.gguf": large(GB, 5),
    "imatrix.gguf": large(MiB, 6),
    "m-F16-00001-of-00002.gguf": large(9 * GB, 7),
    "m-Q6_K.gguf.part1of2": large(3 * GB, 8),
    "m-Q6_K.gguf.part2of2": large(4 * GB, 9),
    "README.md": b"hello",
}


def named(offered: ModelVariants, selector: str) -> VariantInfo:
    return next(variant for variant in offered.variants if variant.selector == selector)


async def test_what_there_is_and_what_fits(hub: FakeHub, engine: Engine) -> None:
    commit = hub.add(REPO, FILES)
    offered = await engine.variants(REPO, memory_bytes=MEMORY)
    assert (offered.repo, offered.revision, offered.commit) == (REPO, "main", commit)
    assert offered.memory_bytes == MEMORY
    assert [(v.selector, v.size_bytes // GB, v.fit) for v in offered.variants] == [
        ("F16", 9, None),
        ("Q8_0", 9, Fit.TOO_LARGE),
        ("Q6_K", 7, Fit.TOO_LARGE),
        ("Q4_K_M", 5, Fit.TIGHT),
        ("Q2_K", 3, Fit.FITS),
    ]
    q4 = named(offered, "Q4_K_M")
    assert (q4.bits_per_weight, q4.is_complete, q4.joined_path) == (4.89, True, None)
    assert q4.needed_bytes == 6 * GB + GiB
    assert [(s.path, s.role) for s in q4.sidecars] == [("mmproj-F16.gguf", FileRole.MMPROJ)]
    assert (q4.is_default, offered.default) == (True, q4)
    assert offered.default_rule == "no quantization asked, Q4_K_M is the default"
    assert offered.auto == named(offered, "Q2_K")
    assert "Q2_K is the best that fits in 7.5 GB" in offered.auto_rule
    f16, q6 = named(offered, "F16"), named(offered, "Q6_K")
    assert (f16.is_complete, f16.missing) == (False, ("m-F16-00002-of-00002.gguf",))
    assert f16.needed_bytes is None
    assert q6.joined_path == "m-Q6_K.gguf"
    assert [(other.path, other.role.value) for other in offered.others] == [
        ("MTP/mtp-m-Q4_0.gguf", "drafter"),
        ("imatrix.gguf", "imatrix"),
    ]
    assert hub.requests("cdn") == []


async def test_what_is_not_whole_is_chosen_by_nobody(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, FILES)
    offered = await engine.variants(REPO, memory_bytes=500 * GB)
    assert offered.auto == named(offered, "Q8_0")
    assert (await engine.plan(REPO)).quantization == "Q4_K_M"


async def test_the_plan_agrees_with_the_table(hub: FakeHub, settings_for: Settings) -> None:
    hub.add(REPO, FILES)
    for memory in (MEMORY, 9 * GB, 20 * GB):
        async with Engine(**settings_for(hub, memory_bytes=memory)) as engine:
            offered = await engine.variants(REPO)
            plan = await engine.plan(REPO, "auto")
            assert offered.memory_bytes == memory
            assert offered.auto is not None
            assert plan.quantization == offered.auto.quantization
            assert plan.rule == offered.auto_rule
            assert f"{memory / GB:.1f} GB of memory" in plan.rule
            assert await engine.plan(f"{REPO}:AUTO") == plan


async def test_nothing_fits(hub: FakeHub, settings_for: Settings) -> None:
    hub.add(REPO, FILES)
    async with Engine(**settings_for(hub, memory_bytes=2 * GB)) as engine:
        with pytest.raises(InsufficientMemory, match="Q2_K, needs about 5") as caught:
            await engine.plan(REPO, "auto")
        assert caught.value.needed_bytes == 4 * GB + GiB
        offered = await engine.variants(REPO)
        assert offered.auto is None
        assert offered.auto_rule == caught.value.message


async def test_free_memory_is_looked_up_when_none_is_given(
    hub: FakeHub, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(REPO, FILES)
    monkeypatch.setattr(chooser, "free_memory", lambda: 20 * GB)
    assert (await engine.variants(REPO)).memory_bytes == 20 * GB
    assert (await engine.plan(REPO, "auto")).quantization == "Q8_0"
    monkeypatch.setattr(chooser, "free_memory", lambda: None)
    offered = await engine.variants(REPO)
    assert {variant.fit for variant in offered.variants} == {None}
    assert (offered.memory_bytes, offered.auto) == (None, None)
    assert "not known" in offered.auto_rule
    with pytest.raises(InvalidConfiguration, match="--memory 12G"):
        await engine.plan(REPO, "auto")


async def test_without_the_projector_more_fits(hub: FakeHub, settings_for: Settings) -> None:
    hub.add(REPO, FILES)
    async with Engine(**settings_for(hub, include_mmproj=False)) as engine:
        offered = await engine.variants(REPO, memory_bytes=MEMORY)
        assert named(offered, "Q4_K_M").sidecars == ()
        assert named(offered, "Q4_K_M").fit is Fit.FITS


async def test_why_there_is_no_default(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, {"m-Q6_K.gguf": b"x", "m-Q5_K_M.gguf": b"x"})
    offered = await engine.variants(f"{REPO}:Q9")
    assert offered.default is None
    assert "None of the repository's 2 models is a default" in offered.default_rule
    hub.add("acme/text", {"README.md": b"x"})
    with pytest.raises(ModelNotFound, match="no GGUF files"):
        await engine.variants("acme/text")


async def test_two_builds_of_one_label_are_told_apart(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, {"a/m-Q4_K_M.gguf": b"x", "b/m-Q4_K_M.gguf": b"y"})
    offered = await engine.variants(REPO)
    assert [v.selector for v in offered.variants] == ["a/m-Q4_K_M.gguf", "b/m-Q4_K_M.gguf"]
    assert {v.quantization for v in offered.variants} == {"Q4_K_M"}
    assert (offered.default, offered.auto) == (None, None)
    assert "fits 2 models" in offered.auto_rule


async def test_what_is_on_disk(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, {FILE: coded(4 * MiB), "tiny-Q8_0.gguf": coded(8 * MiB, 2), "mmproj.gguf": b"x"})
    before = await engine.variants(REPO)
    assert [v.downloaded_bytes for v in before.variants] == [0, 0]
    await (await engine.download(REPO, LABEL)).result()
    hub.rate = MiB
    job = await engine.download(REPO, "Q8_0")
    async for status in job.events():
        if status.downloaded_bytes > MiB:
            break
    await job.pause()
    offered = await engine.variants(REPO)
    q8, q4 = offered.variants
    assert (q4.downloaded_bytes, q4.downloaded_percent) == (4 * MiB, 100)
    assert q4.sidecars[0].downloaded_bytes == 1
    assert 0 < q8.downloaded_bytes < q8.size_bytes
    assert q8.downloaded_bytes == job.status.downloaded_bytes - 1  # of the projector
    assert 0 < q8.downloaded_percent < 100


async def test_a_joined_model_is_complete(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, {"m.Q8_0.gguf.part1of2": coded(MiB), "m.Q8_0.gguf.part2of2": coded(MiB, 2)})
    await (await engine.download(REPO, "Q8_0")).result()
    (variant,) = (await engine.variants(REPO)).variants
    assert (variant.joined_path, variant.downloaded_percent) == ("m.Q8_0.gguf", 100)


async def test_a_damaged_journal_counts_for_nothing(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    content = coded(MiB)
    hub.add(REPO, {FILE: content})
    blobs = place / "models--acme--tiny-GGUF" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{content.sha256}.modelfetch.journal").write_bytes(b"rubbish")
    assert (await engine.variants(REPO)).variants[0].downloaded_bytes == 0
    (blobs / f"{content.sha256}.modelfetch.incomplete").write_bytes(b"x" * 100)
    assert (await engine.variants(REPO)).variants[0].downloaded_bytes == 0


async def test_offline_the_cache_tells_what_it_has(hub: FakeHub, settings_for: Settings) -> None:
    hub.add(REPO, {FILE: coded(MiB), "tiny-Q8_0.gguf": coded(MiB, 2)})
    async with Engine(**settings_for(hub)) as engine:
        await (await engine.download(REPO, LABEL)).result()
    async with Engine(**settings_for(hub, offline=True)) as engine:
        offered = await engine.variants(REPO)
        assert offered.from_cache
        assert [(v.selector, v.downloaded_percent) for v in offered.variants] == [(LABEL, 100)]
        with pytest.raises(Offline):
            await engine.variants("acme/never-seen")


async def test_the_json_form(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, FILES)
    shown = (await engine.variants(REPO, memory_bytes=MEMORY)).to_dict()
    assert list(shown) == [
        "repo", "revision", "commit", "from_cache", "resolution", "memory_bytes", "default",
        "default_rule", "auto", "auto_rule", "variants", "others",
    ]  # fmt: skip
    assert (shown["default"], shown["auto"]) == ("Q4_K_M", "Q2_K")
    assert shown["variants"][3] == {
        "selector": "Q4_K_M",
        "quantization": "Q4_K_M",
        "size_bytes": 5 * GB,
        "paths": ["m-Q4_K_M.gguf"],
        "missing": [],
        "joined_path": None,
        "bits_per_weight": 4.89,
        "sidecars": [
            {"path": "mmproj-F16.gguf", "role": "mmproj", "size_bytes": GB, "downloaded_bytes": 0}
        ],
        "downloaded_bytes": 0,
        "downloaded_percent": 0,
        "needed_bytes": 6 * GB + GiB,
        "fit": "tight",
        "default": True,
        "auto": False,
    }


async def test_a_repository_of_10_000_files_comes_in_10_pages(hub: FakeHub, engine: Engine) -> None:
    hub.lists_sizes, hub.page_size = False, 1000
    files = {f"m-{n:04}-Q8_0.gguf": large(GB, n + 1) for n in range(9_998)}
    files |= {"m-Q4_K_M.gguf": large(GB, 20_000), "mmproj-F16.gguf": large(MiB, 20_001)}
    hub.add(REPO, files, lfs=lambda path, content: True)
    plan: Plan = await engine.plan(REPO)
    assert [file.path for file in plan.files] == ["m-Q4_K_M.gguf", "mmproj-F16.gguf"]
    assert sum("/tree/" in request.path for request in hub.requests()) == 10
    assert len((await engine.variants(REPO)).variants) == 9_999
