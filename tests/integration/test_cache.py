"""Housekeeping: what is in a cache, whether it is sound, and taking things out of it."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.helpers import MiB, assert_same, coded

from modelfetch import (
    AmbiguousQuantization,
    Cache,
    Engine,
    InvalidState,
    Job,
    ModelNotFound,
    QuantizationNotFound,
    StorageError,
)
from modelfetch.repairs import repair
from modelfetch.storage import removal
from modelfetch.storage import scan as scanning
from modelfetch.storage.layout import Layout
from modelfetch.storage.locks import BlobLock
from modelfetch.storage.scan import RepoScan
from modelfetch.testing import FakeHub, Stall

REPO = "acme/tiny-GGUF"
Q4, Q8, MMPROJ = "tiny-Q4_K_M.gguf", "tiny-Q8_0.gguf", "mmproj-tiny-F16.gguf"
SHARDS = [f"tiny-BF16-0000{n}-of-00002.gguf" for n in (1, 2)]
CONTENT = {
    Q4: coded(5 * MiB + 17, 1),
    Q8: coded(2 * MiB, 2),
    MMPROJ: coded(MiB, 3),
    SHARDS[0]: coded(MiB, 4),
    SHARDS[1]: coded(MiB + 1, 5),
}
HOUR = 3600.0


@pytest.fixture
def cache(place: Path) -> Cache:
    return Cache(place)


@pytest.fixture
async def stocked(hub: FakeHub, engine: Engine) -> AsyncIterator[str]:
    """The commit of a repository of which two quantizations are in the cache."""
    commit = hub.add(REPO, dict(CONTENT))
    for quantization in ("Q4_K_M", "Q8_0"):
        await (await engine.download(REPO, quantization)).result()
    hub.reset_log()
    yield commit


async def test_a_commit_whose_ref_cannot_be_written_is_found_all_the_same(
    stocked: str, engine: Engine, place: Path
) -> None:
    folder(place).joinpath("refs", stocked, "in the way").mkdir(parents=True)
    job = await engine.download(REPO, "Q8_0", revision=stocked)
    assert_same((await job.result()).path, CONTENT[Q8])


def folder(place: Path) -> Path:
    return place / "models--acme--tiny-GGUF"


def blob(place: Path, name: str) -> Path:
    return folder(place) / "blobs" / CONTENT[name].sha256


def flip(path: Path, *offsets: int) -> None:
    with path.open("r+b") as file:
        for offset in offsets:
            file.seek(offset)
            byte = file.read(1)
            file.seek(offset)
            file.write(bytes([byte[0] ^ 0x10]))


def tree(place: Path) -> set[str]:
    """Every file and link below a folder but locks."""
    return {
        str(path.relative_to(place))
        for path in place.rglob("*")
        if (path.is_symlink() or path.is_file()) and ".locks" not in path.parts
    }


async def run(call: Callable[..., Any], *args: Any, **more: Any) -> Any:
    return await asyncio.to_thread(call, *args, **more)


# What there is ------------------------------------------------------------------------------------


async def test_models_are_listed_with_their_builds_sizes_and_revisions(
    stocked: str, cache: Cache
) -> None:
    (model,) = await run(cache.models)
    assert model.repo == REPO
    listed = {build.selector: build for build in model.builds}
    assert set(listed) == {"Q4_K_M", "Q8_0"}
    assert listed["Q4_K_M"].size_bytes == CONTENT[Q4].size
    assert listed["Q4_K_M"].paths == (Q4,)
    assert (listed["Q8_0"].commit, listed["Q8_0"].refs) == (stocked, ("main",))
    assert model.others == (MMPROJ,)
    assert model.partials == ()
    assert model.size_bytes >= sum(CONTENT[name].size for name in (Q4, Q8, MMPROJ))
    assert model.last_used == max(
        max(blob(cache.cache_dir, n).stat().st_atime, blob(cache.cache_dir, n).stat().st_mtime)
        for n in (Q4, Q8, MMPROJ)
    )


async def test_a_set_of_shards_that_lacks_one_says_so(
    hub: FakeHub, engine: Engine, cache: Cache
) -> None:
    hub.add(REPO, dict(CONTENT))
    await (await engine.download(REPO, "BF16", include_mmproj=False)).result()
    link = next(folder(cache.cache_dir).glob(f"snapshots/*/{SHARDS[1]}"))
    link.unlink()
    ((build,),) = [model.builds for model in await run(cache.models)]
    assert (build.paths, build.missing) == ((SHARDS[0],), (SHARDS[1],))


async def stopped_half_way(hub: FakeHub, engine: Engine, quantization: str = "Q4_K_M") -> Job:
    hub.script(Stall(200_000), path="*.gguf", times=None)
    job = await engine.download(REPO, quantization, include_mmproj=False)
    async for status in job.events():
        if status.downloaded_bytes:
            break
    return job


async def test_a_partial_is_listed_with_its_percentage_while_it_runs_and_after(
    hub: FakeHub, engine: Engine, cache: Cache
) -> None:
    hub.add(REPO, dict(CONTENT))
    job = await stopped_half_way(hub, engine)
    (model,) = await run(cache.models)
    assert [partial.in_use for partial in model.partials] == [True]
    await job.pause()
    (model,) = await run(cache.models)
    (partial,) = model.partials
    assert partial.in_use is False
    assert partial.size_bytes == CONTENT[Q4].size
    assert partial.held_bytes == job.status.downloaded_bytes > 0
    assert partial.percent == 100 * partial.held_bytes // CONTENT[Q4].size
    assert model.builds == ()


async def test_the_disk_usage_counts_each_file_once(
    hub: FakeHub, stocked: str, cache: Cache, place: Path
) -> None:
    os.link(blob(place, Q4), folder(place) / "blobs" / "again")
    usage = await run(cache.disk_usage)
    ((repo, size),) = usage.repos
    assert repo == REPO
    content = sum(CONTENT[name].size for name in (Q4, Q8, MMPROJ))
    assert content <= size < content + 200_000
    assert usage.total_bytes == size + usage.other_bytes
    assert usage.partial_bytes == usage.shared_bytes == 0


async def test_a_cache_that_is_not_there_is_empty(cache: Cache) -> None:
    assert await run(cache.models) == []
    assert (await run(cache.verify)).is_sound
    assert (await run(cache.prune)).items == ()
    assert (await run(cache.disk_usage)).total_bytes == 0
    assert not cache.cache_dir.exists()


# Whether it is sound ------------------------------------------------------------------------------


async def test_a_sound_cache_is_found_sound(stocked: str, cache: Cache) -> None:
    counts: list[int] = []
    found = await run(cache.verify, on_bytes=counts.append)
    assert found.is_sound
    assert found.checked_files == 3
    assert found.checked_bytes == sum(counts) == sum(CONTENT[n].size for n in (Q4, Q8, MMPROJ))


async def test_verifying_changes_nothing_not_even_when_it_was_last_used(
    stocked: str, cache: Cache, place: Path
) -> None:
    os.utime(blob(place, Q4), (1_000_000_000, 1_000_000_001))
    flip(blob(place, Q8), 5)
    before, about = tree(place), blob(place, Q4).stat()
    found = await run(cache.verify)
    assert [file.blob for file in found.damaged] == [CONTENT[Q8].sha256]
    assert found.damaged[0].names == ((stocked, Q8),)
    assert not found.damaged[0].marked
    assert tree(place) == before
    assert blob(place, Q4).stat().st_atime == about.st_atime


async def test_only_damaged_pieces_are_fetched_to_repair_a_file(
    hub: FakeHub, engine: Engine, stocked: str, cache: Cache, place: Path
) -> None:
    flip(blob(place, Q4), 10, 2 * MiB + 5, 2 * MiB + 6)
    found = await run(cache.verify, repair=True)
    (damaged,) = found.damaged
    assert damaged.marked
    assert damaged.damaged_bytes == 2 * MiB
    assert not blob(place, Q4).exists()
    assert await repair(engine, found.damaged) == {}
    assert hub.sent_bytes(Q4) == 2 * MiB
    assert_same(next(folder(place).glob(f"snapshots/*/{Q4}")), CONTENT[Q4])
    assert (await run(cache.verify)).is_sound


async def test_a_plain_download_repairs_what_was_marked(
    hub: FakeHub, engine: Engine, stocked: str, cache: Cache, place: Path
) -> None:
    flip(blob(place, Q4), 3 * MiB)
    await run(cache.verify, REPO, repair=True)
    await (await engine.download(REPO, "Q4_K_M")).result()
    assert hub.sent_bytes(Q4) == MiB
    assert_same(blob(place, Q4), CONTENT[Q4])


@pytest.mark.parametrize("change", ["truncated", "longer", "no checksums", "wrong checksums"])
async def test_a_file_of_the_wrong_size_or_without_checksums_is_repaired_too(
    hub: FakeHub, engine: Engine, stocked: str, cache: Cache, place: Path, change: str
) -> None:
    path = blob(place, Q4)
    sums = path.with_name(f"{path.name}.modelfetch.sums")
    expected = CONTENT[Q4].size
    if change == "truncated":
        os.truncate(path, 3 * MiB)
        expected -= 3 * MiB
    elif change == "longer":
        with path.open("ab") as file:
            file.write(b"more")
        expected = 0
    elif change == "no checksums":
        flip(path, 7)
        sums.unlink()
    else:
        flip(path, 7)
        sums.write_bytes(sums.read_bytes()[:40])
    found = await run(cache.verify, repair=True)
    assert await repair(engine, found.damaged) == {}
    assert hub.sent_bytes(Q4) == expected
    assert_same(path, CONTENT[Q4])


async def test_repair_leaves_the_other_name_of_a_file_alone(
    stocked: str, cache: Cache, place: Path, tmp_path: Path
) -> None:
    other = tmp_path / "mine.gguf"
    os.link(blob(place, Q4), other)
    flip(other, 7)
    damaged = other.read_bytes()
    inode = other.stat().st_ino
    await run(cache.verify, repair=True)
    assert other.read_bytes() == damaged
    (partial,) = folder(place).glob("blobs/*.modelfetch.incomplete")
    assert partial.stat().st_ino != inode


async def test_what_a_running_process_has_is_not_marked(
    stocked: str, cache: Cache, place: Path
) -> None:
    flip(blob(place, Q4), 7)
    lock = BlobLock(Layout(place).blob(REPO, CONTENT[Q4].sha256).lock)
    assert await run(lock.try_acquire)
    found = await run(cache.verify, repair=True)
    assert [file.marked for file in found.damaged] == [False]
    assert blob(place, Q4).exists()
    lock.release()


async def test_links_that_lead_nowhere_and_files_without_a_hash_are_named(
    stocked: str, cache: Cache, place: Path
) -> None:
    snapshot = folder(place) / "snapshots" / stocked
    blob(place, Q8).unlink()
    (snapshot / "notes.txt").write_text("put here by hand")
    found = await run(cache.verify)
    assert found.broken_links == (snapshot / Q8,)
    assert found.unverifiable == (snapshot / "notes.txt",)
    assert not found.is_sound


async def test_a_blob_that_is_a_link_to_nothing_is_damaged(
    hub: FakeHub, engine: Engine, stocked: str, cache: Cache, place: Path
) -> None:
    blob(place, Q8).unlink()
    blob(place, Q8).symlink_to("nowhere")
    found = await run(cache.verify, repair=True)
    assert [file.blob for file in found.damaged] == [CONTENT[Q8].sha256]
    assert await repair(engine, found.damaged) == {}
    assert_same(blob(place, Q8), CONTENT[Q8])


async def test_a_link_that_goes_while_it_is_looked_at_is_none(
    stocked: str, cache: Cache, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the link has that a download is about to give its name."""
    draft = folder(place) / "snapshots" / stocked / ".01234567.tmp"
    draft.symlink_to(f"../../blobs/{CONTENT[Q4].sha256}")
    target_of = scanning._target_of

    def gone(link: Path) -> os.stat_result | None:
        draft.unlink(missing_ok=True)
        return target_of(link)

    monkeypatch.setattr(scanning, "_target_of", gone)
    assert (await run(cache.verify)).is_sound
    draft.symlink_to(f"../../blobs/{CONTENT[Q4].sha256}")
    assert len(await run(cache.models)) == 1


@pytest.mark.timeout(20)
async def test_what_has_no_end_or_never_begins_is_not_waited_for(
    stocked: str, cache: Cache, place: Path
) -> None:
    """A link to a device in the place of a file, pipes in the place of journals and checksums."""
    blob(place, Q8).unlink()
    blob(place, Q8).symlink_to("/dev/zero")
    flip(blob(place, Q4), 5)
    partial = folder(place) / "blobs" / f"{'a' * 64}.modelfetch.incomplete"
    partial.write_bytes(b"some")
    os.mkfifo(partial.with_suffix(".journal"))
    sums = blob(place, Q4).with_name(f"{blob(place, Q4).name}.modelfetch.sums")
    sums.unlink()
    os.mkfifo(sums)
    (model,) = await run(cache.models)
    assert [one.percent for one in model.partials] == [None]
    found = await run(cache.verify)
    assert {file.path for file in found.damaged} == {blob(place, Q8), blob(place, Q4)}


async def test_a_model_that_was_joined_from_parts_is_repaired(
    hub: FakeHub, engine: Engine, cache: Cache
) -> None:
    parts = {f"tiny-Q8_0.gguf.part{n}of2": coded(MiB + n, n) for n in (1, 2)}
    hub.add(REPO, parts)
    model = await (await engine.download(REPO, "Q8_0")).result()
    before = model.path.read_bytes()
    flip(model.path, 5)
    found = await run(cache.verify, repair=True)
    assert await repair(engine, found.damaged) == {}
    assert model.path.read_bytes() == before


async def test_what_cannot_be_repaired_keeps_nothing_else_from_it(
    hub: FakeHub, engine: Engine, stocked: str, cache: Cache, place: Path
) -> None:
    for name in (Q4, Q8):
        flip(blob(place, name), 5)
    found = await run(cache.verify, repair=True)
    gone = {blob(place, Q4): ((stocked, "gone.gguf"),)}
    damaged = [replace(file, names=gone.get(file.path, file.names)) for file in found.damaged]
    assert list(await repair(engine, damaged)) == [REPO]
    assert_same(blob(place, Q8), CONTENT[Q8])


async def test_an_unknown_model_is_an_error(cache: Cache, stocked: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        await run(cache.verify, "acme/TINY-gguf")
    assert REPO in str(caught.value)


# Taking out ---------------------------------------------------------------------------------------


async def test_one_quantization_goes_and_the_others_stay(
    stocked: str, cache: Cache, place: Path
) -> None:
    removal = await run(cache.remove, f"{REPO}:Q4_K_M")
    assert not blob(place, Q4).exists()
    assert blob(place, Q8).exists()
    assert removal.freed_bytes >= CONTENT[Q4].size
    assert (await run(cache.verify)).is_sound
    ((build,),) = [model.builds for model in await run(cache.models)]
    assert build.selector == "Q8_0"


async def test_a_blob_that_another_revision_needs_stays(
    hub: FakeHub, engine: Engine, cache: Cache, place: Path
) -> None:
    old = hub.add(REPO, {Q4: CONTENT[Q4]})
    await (await engine.download(REPO, "Q4_K_M", revision=old)).result()
    hub.add(REPO, {Q4: CONTENT[Q4], Q8: CONTENT[Q8]})
    await (await engine.download(REPO, "Q4_K_M")).result()
    removal = await run(cache.remove, f"{REPO}@{old}")
    assert removal.freed_bytes == 0
    assert blob(place, Q4).exists()
    assert not (folder(place) / "snapshots" / old).exists()
    await run(cache.remove, REPO, "Q4_K_M")
    assert not blob(place, Q4).exists()


async def test_a_whole_repository_goes_with_its_partials(
    hub: FakeHub, engine: Engine, stocked: str, cache: Cache, place: Path
) -> None:
    job = await stopped_half_way(hub, engine, "BF16")
    await job.pause()
    other = place / "models--acme--other"
    shutil.copytree(folder(place), other, symlinks=True)
    await run(cache.remove, REPO)
    assert not folder(place).exists()
    assert len(tree(other)) > 5


async def test_nothing_is_left_of_a_repository_that_goes(
    stocked: str, cache: Cache, place: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("precious")
    for name in (
        "refs/odd",
        ".DS_Store",
        "snapshots/file",
        f"trees/{stocked}.json",
        ".no_exist/x/y",
    ):
        path = folder(place) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("no commit")
    (folder(place) / "link").symlink_to(tmp_path / "outside")
    await run(cache.remove, REPO)
    assert not folder(place).exists()
    assert (tmp_path / "outside" / "file").exists()


async def test_what_is_being_downloaded_is_not_removed(
    hub: FakeHub, engine: Engine, stocked: str, cache: Cache, place: Path
) -> None:
    job = await stopped_half_way(hub, engine, "BF16")
    before = tree(place)
    with pytest.raises(InvalidState):
        await run(cache.remove, REPO)
    assert tree(place) == before
    await run(cache.remove, REPO, "Q8_0")
    assert tree(place) < before
    hub.unscript()
    await job.result()


@pytest.mark.parametrize(
    ("request_", "error"),
    [("Q2_K", QuantizationNotFound), ("acme/other", ModelNotFound)],
)
async def test_what_is_not_there_cannot_be_removed(
    stocked: str, cache: Cache, request_: str, error: type[Exception]
) -> None:
    before = tree(cache.cache_dir)
    with pytest.raises(error):
        if "/" in request_:
            await run(cache.remove, request_)
        else:
            await run(cache.remove, REPO, request_)
    assert tree(cache.cache_dir) == before


async def test_an_ambiguous_request_removes_nothing(
    hub: FakeHub, engine: Engine, cache: Cache
) -> None:
    hub.add(REPO, {"a-Q4_K_M.gguf": coded(100, 1), "b-Q4_K_M.gguf": coded(100, 2)})
    for name in ("a-Q4_K_M.gguf", "b-Q4_K_M.gguf"):
        await (await engine.download(REPO, name)).result()
    before = tree(cache.cache_dir)
    with pytest.raises(AmbiguousQuantization):
        await run(cache.remove, REPO, "Q4_K_M")
    assert tree(cache.cache_dir) == before
    await run(cache.remove, REPO, "a-Q4_K_M.gguf")
    ((build,),) = [model.builds for model in await run(cache.models)]
    assert build.paths == ("b-Q4_K_M.gguf",)


@pytest.mark.parametrize("what", ["", "blobs", "snapshots"])
async def test_nothing_is_removed_through_a_link(
    stocked: str, cache: Cache, place: Path, tmp_path: Path, what: str
) -> None:
    inside, outside = folder(place) / what, tmp_path / "outside"
    inside.rename(outside)
    inside.symlink_to(outside)
    before = tree(outside)
    with pytest.raises(StorageError):
        await run(cache.remove, REPO)
    assert (await run(cache.prune, dry_run=False, older_than=-HOUR)).kept != ()
    assert tree(outside) == before


async def test_a_quantization_that_is_being_downloaded_is_not_removed(
    stocked: str, cache: Cache, place: Path
) -> None:
    lock = BlobLock(Layout(place).blob(REPO, CONTENT[Q8].sha256).lock)
    assert await run(lock.try_acquire)
    before = tree(place)
    with pytest.raises(InvalidState):
        await run(cache.remove, REPO, "Q8_0")
    assert tree(place) == before
    lock.release()


# Clean-up -----------------------------------------------------------------------------------------


@pytest.fixture
def littered(stocked: str, place: Path) -> Iterator[dict[str, str]]:
    """What no model needs, and why."""
    blobs = folder(place) / "blobs"
    a, b = "a" * 64, "b" * 64
    litter = {
        f"blobs/{a}": "no snapshot has it",
        f"blobs/{b}.incomplete": "an unfinished download",
        f"blobs/{b}.0123abcd.incomplete": "an unfinished download",
        f"blobs/{b}.modelfetch.incomplete": "an unfinished download",
        f"blobs/{b}.modelfetch.journal": "left by an unfinished download",
        f"blobs/{b}.modelfetch.journal.tmp": "left by an unfinished download",
        f"blobs/{b}.modelfetch-bad.incomplete": "an unfinished download",
        f"blobs/{b}.modelfetch.sums": "the file that it is about is gone",
        f"blobs/.{b}.0123abcd.shared": "left by an unfinished download",
        "refs/dead": "it names no snapshot",
        f"snapshots/{'c' * 40}/old.gguf": "no branch or tag names its revision",
        f"snapshots/{stocked}/broken.gguf": "a link that leads nowhere",
    }
    for name in litter:
        path = folder(place) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("litter")
    (folder(place) / "refs/dead").write_text("d" * 40)
    (folder(place) / f"snapshots/{stocked}/broken.gguf").unlink()
    (folder(place) / f"snapshots/{stocked}/broken.gguf").symlink_to("../../blobs/nothing")
    assert blobs.is_dir()
    yield litter


async def test_a_clean_up_takes_exactly_what_no_model_needs(
    stocked: str, littered: dict[str, str], cache: Cache, place: Path
) -> None:
    before = tree(place)
    planned = await run(cache.prune, older_than=-HOUR)
    assert planned.dry_run
    assert {
        str(item.path.relative_to(folder(place))): item.reason for item in planned.items
    } == littered
    assert tree(place) == before
    done = await run(cache.prune, older_than=-HOUR, dry_run=False)
    assert done.items == planned.items
    assert before - tree(place) == {f"{folder(place).name}/{name}" for name in littered}
    assert (await run(cache.verify)).is_sound
    assert (await run(cache.prune, older_than=-HOUR)).items == ()
    assert not (folder(place) / "snapshots" / ("c" * 40)).exists()


async def test_what_was_changed_a_moment_ago_stays(
    stocked: str, littered: dict[str, str], cache: Cache
) -> None:
    removal = await run(cache.prune)
    reasons = {item.reason for item in removal.items}
    assert reasons == {"it names no snapshot", "a link that leads nowhere"}


async def test_a_link_on_its_way_to_its_name_stays_until_it_is_old(
    stocked: str, cache: Cache, place: Path
) -> None:
    draft = folder(place) / "snapshots" / stocked / ".01234567.tmp"
    draft.symlink_to(f"../../blobs/{CONTENT[Q4].sha256}")
    assert (await run(cache.prune)).items == ()
    (item,) = (await run(cache.prune, older_than=-HOUR)).items
    assert item.path == draft


async def test_a_repository_that_is_being_downloaded_is_left_alone(
    hub: FakeHub, engine: Engine, cache: Cache, place: Path
) -> None:
    hub.add(REPO, dict(CONTENT))
    hub.script(Stall(200_000), path=SHARDS[1], times=None)
    job = await engine.download(REPO, "BF16", include_mmproj=False)
    async for status in job.events():
        if status.files[0].verified and status.files[1].downloaded_bytes:
            break
    before = tree(place)
    removal = await run(cache.prune, dry_run=False, older_than=-HOUR)
    assert (removal.items, len(removal.kept)) == ((), 1)
    assert tree(place) == before
    hub.unscript()
    await job.result()


async def test_a_blob_that_gets_a_name_meanwhile_stays(
    engine: Engine, stocked: str, cache: Cache, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download finds a blob without a name, just after the clean-up has."""
    name = folder(place) / "snapshots" / stocked / Q4
    name.unlink()
    loop, busy_locks = asyncio.get_running_loop(), removal.busy_locks

    async def download() -> None:
        await (await engine.download(REPO, "Q4_K_M")).result()

    def meanwhile(found: RepoScan) -> list[Path]:
        asyncio.run_coroutine_threadsafe(download(), loop).result()
        return busy_locks(found)

    monkeypatch.setattr(removal, "busy_locks", meanwhile)
    before = tree(place)
    assert (await run(cache.prune, dry_run=False, older_than=-60)).items == ()
    assert_same(name, CONTENT[Q4])
    assert tree(place) == before | {str(name.relative_to(place))}


async def test_after_a_killed_download_nothing_is_left(
    hub: FakeHub, engine: Engine, cache: Cache, place: Path
) -> None:
    hub.add(REPO, dict(CONTENT))
    job = await stopped_half_way(hub, engine)
    await job.cancel()
    await run(cache.prune, dry_run=False, older_than=-HOUR)
    assert not folder(place).exists()


async def test_a_blob_that_was_removed_before_the_end_is_an_error_and_no_broken_link(
    hub: FakeHub, engine: Engine, cache: Cache, place: Path
) -> None:
    hub.add(REPO, dict(CONTENT))
    hub.script(Stall(200_000), path=SHARDS[1], times=None)
    job = await engine.download(REPO, "BF16", include_mmproj=False)
    async for status in job.events():
        if status.files[0].verified:
            break
    blob(place, SHARDS[0]).unlink()
    hub.unscript()
    with pytest.raises(StorageError, match="removed by somebody"):
        await job.result()
    assert (await run(cache.verify)).broken_links == ()


# Disks without links ------------------------------------------------------------------------------


def no_links(*_: Any, **__: Any) -> None:
    raise OSError(errno.EPERM, "no such links here")


@pytest.fixture(params=[["symlink_to"], ["symlink_to", "hardlink_to"]], ids=["hard", "none"])
def linkless(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in request.param:
        monkeypatch.setattr(Path, kind, no_links)


async def test_a_disk_without_links_has_the_same_housekeeping(
    hub: FakeHub, engine: Engine, linkless: None, stocked: str, cache: Cache, place: Path
) -> None:
    found = await run(cache.verify)
    assert (found.checked_files, found.unverifiable, found.is_sound) == (3, (), True)
    assert (await run(cache.prune, older_than=-60)).items == ()
    model = folder(place) / "snapshots" / stocked / Q4
    flip(model, 2 * MiB, 2 * MiB + 9)
    found = await run(cache.verify, repair=True)
    (damaged,) = found.damaged
    assert (damaged.blob, damaged.marked) == (CONTENT[Q4].sha256, True)
    assert await repair(engine, found.damaged) == {}
    assert hub.sent_bytes(Q4) == damaged.damaged_bytes == MiB
    assert_same(model, CONTENT[Q4])
    removal = await run(cache.remove, REPO, "Q4_K_M")
    assert not [path for path in tree(place) if CONTENT[Q4].sha256 in path or path.endswith(Q4)]
    size = CONTENT[Q4].size
    assert size <= removal.freed_bytes < size + 2 * MiB // 10, "each file once"


async def test_without_links_nobody_guesses_which_of_two_files_of_one_size_it_is(
    hub: FakeHub, engine: Engine, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("symlink_to", "hardlink_to"):
        monkeypatch.setattr(Path, kind, no_links)
    hub.add(REPO, {Q4: coded(MiB, 1), Q8: coded(MiB, 2)})
    for quantization in ("Q4_K_M", "Q8_0"):
        await (await engine.download(REPO, quantization)).result()
    found = await run(cache.verify, repair=True)
    assert (found.checked_files, len(found.unverifiable), found.damaged) == (0, 2, ())
