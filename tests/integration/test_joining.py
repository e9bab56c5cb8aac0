"""Models that are published in pieces cut at some byte."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.helpers import REPO, MiB, assert_same, coded, final_names

from modelfetch import (
    Engine,
    FileRole,
    IncompleteModel,
    InsufficientSpace,
    JobState,
    Plan,
    PlannedFile,
    StorageError,
)
from modelfetch.storage import locks
from modelfetch.storage.joining import Joining
from modelfetch.storage.layout import Layout
from modelfetch.testing import BytesContent, FakeHub, PositionCoded, Stall, WrongBytes

Settings = Callable[..., dict[str, Any]]
WHOLE = coded(5 * MiB + 17)
CUTS = (0, 2 * MiB + 1, 4 * MiB, WHOLE.size)


def parts(name: str = "m.Q8_0.gguf.part{}of3") -> dict[str, BytesContent]:
    spans = pairwise(CUTS)
    return {
        name.format(number): BytesContent(WHOLE.read(start, stop))
        for number, (start, stop) in enumerate(spans, 1)
    }


async def test_parts_become_one_file_in_order(hub: FakeHub, engine: Engine, place: Path) -> None:
    commit = hub.add(REPO, {**parts(), "mmproj-F16.gguf": b"eyes", "m.Q4_0.gguf": b"other"})
    job = await engine.download(REPO, "Q8_0")
    model = await job.result()
    assert "joined from 3 parts" in job.plan.rule
    assert job.status.total_size_bytes == job.status.downloaded_bytes == WHOLE.size + 4
    assert [(f.path.name, f.role) for f in model.files] == [
        ("m.Q8_0.gguf", FileRole.MODEL),
        ("mmproj-F16.gguf", FileRole.MMPROJ),
    ]
    assert_same(model.path, WHOLE)
    assert (model.files[0].size_bytes, model.files[0].sha256) == (WHOLE.size, WHOLE.sha256)
    # The parts are gone: the cache holds the model once.
    blobs = [name for name in final_names(place) if "blobs" in name]
    assert len(blobs) == 2
    hub.reset_log()
    again = await engine.download(f"{REPO}:q8_0")
    assert again.state is JobState.ALREADY_DOWNLOADED
    assert (await again.result()).files == model.files
    assert hub.requests("cdn") == []
    await hub.stop()
    offline = await engine.download(REPO, "Q8_0", revision=commit)
    assert (await offline.result()).path == model.path


async def test_a_wrong_part_is_never_joined(hub: FakeHub, engine: Engine, place: Path) -> None:
    hub.add(REPO, parts())
    hub.script(WrongBytes(), path="*part2of3", times=1)
    model = await (await engine.download(REPO, "Q8_0")).result()
    assert_same(model.path, WHOLE)


async def test_a_missing_part_is_named(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, {k: v for k, v in parts().items() if "part2" not in k})
    with pytest.raises(IncompleteModel) as caught:
        await engine.plan(REPO, "Q8_0")
    assert caught.value.missing == ("m.Q8_0.gguf.part2of3",)


async def test_the_same_build_whole_is_preferred(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, {**parts(), "m.Q8_0.gguf": b"whole"})
    plan = await engine.plan(REPO, "Q8_0")
    assert [file.path for file in plan.files] == ["m.Q8_0.gguf"]


async def test_a_pause_in_the_middle_keeps_the_parts(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, parts())
    hub.script(Stall(100), path="*part3of3", times=None)
    job = await engine.download(REPO, "Q8_0")
    async for status in job.events():
        if sum(file.verified for file in status.files) == 2:
            break
    await job.pause()
    hub.unscript()
    await job.resume()
    assert_same((await job.result()).path, WHOLE)
    assert hub.bytes_sent_twice("m.Q8_0.gguf.part1of3") == 0


async def test_two_engines_join_once(hub: FakeHub, settings_for: Settings) -> None:
    hub.add(REPO, parts())
    hub.rate = 4 * MiB
    async with Engine(**settings_for(hub)) as one, Engine(**settings_for(hub)) as other:
        jobs = [await engine.download(REPO, "Q8_0") for engine in (one, other)]
        for job in jobs:
            assert_same((await job.result()).path, WHOLE)
            assert job.status.downloaded_bytes == WHOLE.size
    assert hub.sent_bytes() == WHOLE.size


async def test_a_part_that_another_program_shows_stays(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    commit = hub.add(REPO, parts())
    first = next(iter(parts().values()))
    folder = place / "models--acme--tiny-GGUF"
    shown = folder / "snapshots" / commit / "m.Q8_0.gguf.part1of3"
    shown.parent.mkdir(parents=True)
    blob = folder / "blobs" / first.sha256
    blob.parent.mkdir()
    blob.write_bytes(first.read(0, first.size))
    shown.symlink_to(f"../../blobs/{first.sha256}")
    assert_same((await (await engine.download(REPO, "Q8_0")).result()).path, WHOLE)
    assert_same(shown, first)


async def test_room_is_needed_for_parts_and_whole(hub: FakeHub, engine: Engine) -> None:
    size = 1 << 59
    hub.add(
        REPO,
        {f"m.Q8_0.gguf.part{n}of2": PositionCoded(size, n, sha256=f"{n}b" * 32) for n in (1, 2)},
    )
    with pytest.raises(InsufficientSpace) as caught:
        await engine.download(REPO, "Q8_0")
    assert caught.value.needed_bytes == 4 * size


class TestWithoutLocks:
    """Where a lock excludes nobody, each process joins for itself, and one of them is first."""

    @pytest.fixture(autouse=True)
    def no_locks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(locks, "_lock", lambda fd: None)

    async def test_two_engines(self, hub: FakeHub, settings_for: Settings, place: Path) -> None:
        hub.add(REPO, parts())
        hub.rate = 8 * MiB
        async with Engine(**settings_for(hub)) as one, Engine(**settings_for(hub)) as other:
            jobs = [await engine.download(REPO, "Q8_0") for engine in (one, other)]
            for job in jobs:
                assert_same((await job.result()).path, WHOLE)
        assert sorted(path.name for path in place.rglob("blobs/*")) == [WHOLE.sha256]

    async def test_the_parts_are_gone_because_another_was_faster(
        self, hub: FakeHub, engine: Engine, monkeypatch: pytest.MonkeyPatch, place: Path
    ) -> None:
        hub.add(REPO, parts())
        step = Joining.step

        def another_is_faster(self: Joining) -> bool:
            monkeypatch.setattr(Joining, "step", step)
            other = Joining(self._layout, self._plan, durable=True)
            run(other)
            other.remove_parts()
            return self.step()

        monkeypatch.setattr(Joining, "step", another_is_faster)
        assert_same((await (await engine.download(REPO, "Q8_0")).result()).path, WHOLE)
        assert sorted(path.name for path in place.rglob("blobs/*")) == [WHOLE.sha256]


def run(joining: Joining) -> None:
    joining.open()
    while joining.step():
        pass
    joining.publish()
    joining.close()


@pytest.fixture
def fetched(place: Path) -> tuple[Layout, Plan]:
    """Parts in the cache, not joined yet."""
    layout, files = Layout(place), []
    for name, content in parts().items():
        files.append(PlannedFile(name, content.size, content.sha256, None, FileRole.BYTE_PART))
        blob = layout.blob(REPO, content.sha256).final
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content.read(0, content.size))
    return layout, Plan(REPO, "main", "a" * 40, "Q8_0", "rule", tuple(files), "m.Q8_0.gguf")


def joined(layout: Layout) -> Path:
    return layout.snapshot(REPO, "a" * 40, "m.Q8_0.gguf")


def test_a_draft_is_nobody_elses(fetched: tuple[Layout, Plan]) -> None:
    one, other = (Joining(*fetched, durable=True) for _ in range(2))
    one.open()
    while one.step():
        pass
    other.open()
    one.publish()
    assert_same(joined(fetched[0]), WHOLE)
    while other.step():
        pass
    assert_same(joined(fetched[0]), WHOLE)
    other.publish()
    assert_same(joined(fetched[0]), WHOLE)
    assert list(fetched[0].root.rglob("*.incomplete")) == []


@pytest.mark.parametrize(
    ("is_locked", "is_old", "is_left"),
    [(True, False, False), (False, False, True), (False, True, False)],
)
def test_a_draft_of_a_killed_process_is_removed_once_it_is_nobodys(
    fetched: tuple[Layout, Plan], is_locked: bool, is_old: bool, is_left: bool
) -> None:
    Joining(*fetched, durable=True).open()
    (draft,) = fetched[0].root.rglob("*.modelfetch-join.incomplete")
    if is_old:
        os.utime(draft, (0, 0))
    joining = Joining(*fetched, durable=True)
    if is_locked:
        assert joining.lock.try_acquire()
    run(joining)
    joining.lock.release()
    assert draft.exists() is is_left


def test_a_part_that_was_cut_short_is_found(fetched: tuple[Layout, Plan]) -> None:
    layout, plan = fetched
    with layout.blob(REPO, plan.files[1].blob_name).final.open("r+b") as part:
        part.truncate(1000)
    joining = Joining(*fetched, durable=True)
    with pytest.raises(StorageError, match="a part was changed"):
        run(joining)
    joining.close()
    assert list(layout.root.rglob("*.incomplete")) == []
    assert not joined(layout).exists()
