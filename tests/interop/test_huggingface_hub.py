"""One cache, two programs: huggingface_hub reads what modelfetch wrote, and the other way round."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import (
    HFCacheInfo,
    hf_hub_download,
    scan_cache_dir,
    snapshot_download,
    try_to_load_from_cache,
)
from tests.helpers import MiB, assert_same

import modelfetch
from modelfetch import Engine, HubUnavailable, Job, JobState, Offline
from modelfetch.testing import Content, FakeHub, Stall, build_gguf

Settings = Callable[..., dict[str, Any]]

REPO, LABEL = "acme/tiny-GGUF", "Q4_K_M"
MODEL, MMPROJ, NOTE = "tiny-Q4_K_M.gguf", "mmproj-tiny-F16.gguf", "README.md"
FILES: dict[str, Content | str] = {
    NOTE: "# tiny\n",
    MODEL: build_gguf(size_bytes=3 * MiB + 5),
    MMPROJ: build_gguf(size_bytes=MiB + 3, architecture="clip", seed=1),
}
BUILD = {MODEL, MMPROJ}
SHARDS: dict[str, Content | str] = {
    f"tiny-Q8_0-0000{number}-of-00002.gguf": build_gguf(
        size_bytes=MiB + number, split=(number - 1, 2), seed=number
    )
    for number in (1, 2)
}
FIRST_SHARD = next(iter(SHARDS))
# What huggingface_hub calls a Xet hash; it is not the SHA-256.
XET_HASH = "ab" + "0123456789abcdef" * 3 + "0123456789abcd"


def content(name: str) -> Content:
    found = {**FILES, **SHARDS}[name]
    assert not isinstance(found, str)
    return found


def folder_of(cache: Path) -> Path:
    return cache / "models--acme--tiny-GGUF"


def blob_of(cache: Path, name: str = MODEL) -> Path:
    return folder_of(cache) / "blobs" / content(name).sha256


def official(hub: FakeHub, cache: Path, name: str, **options: Any) -> Path:
    """Let huggingface_hub fetch one file; blocks."""
    path = hf_hub_download(
        REPO, name, cache_dir=cache, endpoint=hub.endpoint, token=False, **options
    )
    assert isinstance(path, str)
    return Path(path)


async def fetched(engine: Engine, quantization: str | None = LABEL, **options: Any) -> Job:
    job = await engine.download(REPO, quantization, **options)
    await job.result()
    return job


async def paused_in_the_middle(hub: FakeHub, engine: Engine) -> Job:
    """Return a paused job of which some bytes are there and some are not."""
    hub.script(Stall(100_000), path=MODEL, skip=1, times=None)
    job = await engine.download(REPO, LABEL, include_mmproj=False)
    async for status in job.events():
        if status.downloaded_bytes > 0:
            break
    await job.pause()
    hub.unscript()
    assert 0 < job.status.downloaded_bytes < content(MODEL).size
    return job


def incomplete_files(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*.incomplete"))


def share(cache: Path, name: str = MODEL) -> Path:
    """Move a blob into the store that huggingface_hub 2 shares between repositories."""
    store = cache / "blobs"
    payload = store / XET_HASH[:2] / XET_HASH
    payload.parent.mkdir(parents=True)
    (store / ".huggingface-shared-blobs").write_text("1\n")
    blob = blob_of(cache, name)
    blob.replace(payload)
    payload.chmod(0o444)
    payload.with_name(f"{XET_HASH}.refs").write_text(f"{blob.relative_to(cache).as_posix()}\n")
    blob.symlink_to(os.path.relpath(payload, blob.parent))
    return payload


# They read what we wrote --------------------------------------------------------------------------


async def test_a_scan_reports_the_repository_its_revision_and_files_and_has_no_warning(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    commit = hub.add(REPO, FILES)
    await fetched(engine)
    scan: HFCacheInfo = scan_cache_dir(place)
    assert scan.warnings == []
    assert scan.incomplete_files == frozenset()
    (repo,) = scan.repos
    assert (repo.repo_id, repo.repo_type, repo.nb_files) == (REPO, "model", 2)
    assert repo.size_on_disk == scan.size_on_disk == sum(content(name).size for name in BUILD)
    (revision,) = repo.revisions
    assert (revision.commit_hash, revision.refs) == (commit, frozenset({"main"}))
    assert {(file.file_name, file.size_on_disk, file.blob_path) for file in revision.files} == {
        (name, content(name).size, blob_of(place, name)) for name in BUILD
    }


async def test_its_look_ups_find_the_file_by_branch_and_by_commit(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    commit = hub.add(REPO, FILES)
    job = await fetched(engine)
    model = await job.result()
    for revision in ("main", commit, None):
        found = try_to_load_from_cache(REPO, MODEL, cache_dir=place, revision=revision)
        assert found == str(model.path)
    assert try_to_load_from_cache(REPO, NOTE, cache_dir=place) is None, "it was not fetched"


async def test_a_revision_with_slashes_is_found_by_its_name(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    hub.add(REPO, FILES)
    commit = hub.add(REPO, {MODEL: FILES[MODEL]}, branch="refs/pr/1")
    job = await fetched(engine, revision="refs/pr/1")
    model = await job.result()
    found = try_to_load_from_cache(REPO, MODEL, cache_dir=place, revision="refs/pr/1")
    assert found == str(model.path)
    (repo,) = scan_cache_dir(place).repos
    assert {(r.commit_hash, r.refs) for r in repo.revisions} == {(commit, frozenset({"refs/pr/1"}))}


async def test_a_revision_with_the_longest_name_there_can_be(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    branch = "b" * 255
    hub.add(REPO, FILES, branch=branch)
    model = await (await fetched(engine, revision=branch)).result()
    found = try_to_load_from_cache(REPO, MODEL, cache_dir=place, revision=branch)
    assert found == str(model.path)


async def test_its_snapshot_without_a_network_is_our_folder(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    commit = hub.add(REPO, FILES)
    job = await fetched(engine)
    await hub.stop()
    for revision in ("main", commit):
        folder = await asyncio.to_thread(
            snapshot_download, REPO, revision=revision, local_files_only=True, cache_dir=place
        )
        assert Path(folder) == (await job.result()).path.parent
        assert {path.name for path in Path(folder).iterdir()} == BUILD


async def test_its_download_of_a_file_that_we_have_asks_the_cdn_for_nothing(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    hub.add(REPO, FILES)
    job = await fetched(engine)
    hub.reset_log()
    path = await asyncio.to_thread(official, hub, place, MODEL)
    assert path == (await job.result()).path
    assert hub.requests("hub") != []
    assert hub.requests("cdn") == []


async def test_its_download_of_the_rest_leaves_ours_as_it_is(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    hub.add(REPO, FILES)
    await fetched(engine)
    before = {name: blob_of(place, name).stat() for name in BUILD}
    hub.reset_log()
    folder = await asyncio.to_thread(
        snapshot_download, REPO, cache_dir=place, endpoint=hub.endpoint, token=False
    )
    assert {path.name for path in Path(folder).iterdir()} == set(FILES)
    assert hub.requests("cdn") == []
    for name in BUILD:
        after = blob_of(place, name).stat()
        assert (after.st_ino, after.st_mtime_ns) == (before[name].st_ino, before[name].st_mtime_ns)
        assert_same(Path(folder, name), content(name))


async def test_what_it_removes_is_simply_fetched_again(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    commit = hub.add(REPO, FILES)
    await fetched(engine)
    scan_cache_dir(place).delete_revisions(commit).execute()
    assert not blob_of(place).exists()
    job = await fetched(engine)
    assert job.state is JobState.COMPLETED
    assert_same((await job.result()).path, content(MODEL))
    assert scan_cache_dir(place).warnings == []


# Its command line ---------------------------------------------------------------------------------


def hf(hub: FakeHub, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command of huggingface_hub against the fake Hub."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("hf")), *arguments],
        env={
            **os.environ,
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "NO_COLOR": "1",
        },
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_its_command_verifies_every_hash_and_lists_the_repository(tmp_path: Path) -> None:
    cache, home = tmp_path / "cache", tmp_path / "home"
    with FakeHub.in_thread() as hub:
        commit = hub.add(REPO, FILES)
        modelfetch.fetch(REPO, LABEL, endpoint=hub.endpoint, cache_dir=cache, token=False)
        verify = ["cache", "verify", REPO, "--cache-dir", str(cache), "--fail-on-extra-files"]
        good = hf(hub, home, *verify)
        assert good.returncode == 0, good.stderr
        assert "checked: 2\n" in good.stdout
        listed = hf(hub, home, "cache", "ls", "--revisions", "--cache-dir", str(cache), "--json")
        assert listed.returncode == 0, listed.stderr
        assert REPO in listed.stdout
        assert commit in listed.stdout
        # The judge must be able to say no.
        with blob_of(cache).open("r+b") as stream:
            stream.seek(MiB)
            stream.write(b"\xff\xff")
        bad = hf(hub, home, *verify)
        assert bad.returncode == 1
        assert f"{MODEL}: expected {content(MODEL).sha256}" in bad.stdout


def test_its_command_may_prune_a_partial_and_the_next_job_begins_again(
    tmp_path: Path, settings_for: Settings
) -> None:
    cache, home = tmp_path / "cache", tmp_path / "home"
    with FakeHub.in_thread() as hub:
        hub.add(REPO, FILES)

        async def begin() -> None:
            async with Engine(**settings_for(hub, cache_dir=cache, read_timeout=30)) as engine:
                await paused_in_the_middle(hub, engine)

        asyncio.run(begin())
        assert len(incomplete_files(cache)) == 1
        pruned = hf(hub, home, "cache", "prune", "--yes", "--cache-dir", str(cache))
        assert pruned.returncode == 0, pruned.stderr
        assert incomplete_files(cache) == []
        model = modelfetch.fetch(REPO, LABEL, endpoint=hub.endpoint, cache_dir=cache, token=False)
        assert_same(model.path, content(MODEL))


# We read what they wrote --------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True], ids=["hf_hub_download", "snapshot_download"])
async def test_a_model_that_it_fetched_is_already_downloaded(
    hub: FakeHub, engine: Engine, place: Path, whole: bool
) -> None:
    commit = hub.add(REPO, FILES)
    if whole:
        await asyncio.to_thread(
            snapshot_download, REPO, cache_dir=place, endpoint=hub.endpoint, token=False
        )
    else:
        for name in BUILD:
            await asyncio.to_thread(official, hub, place, name)
    hub.reset_log()
    for revision in ("main", commit):
        job = await fetched(engine, revision=revision)
        assert job.status.to_dict() == {"status": "already_downloaded"}
        assert {file.path.name for file in (await job.result()).files} == BUILD
        assert_same((await job.result()).path, content(MODEL))
    assert hub.requests("cdn") == []


async def test_of_a_model_that_it_fetched_in_part_only_the_rest_is_fetched(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    hub.add(REPO, SHARDS)
    await asyncio.to_thread(official, hub, place, FIRST_SHARD)
    hub.reset_log()
    job = await fetched(engine, "Q8_0")
    assert job.state is JobState.COMPLETED
    assert hub.requests("cdn", FIRST_SHARD) == []
    for file in (await job.result()).files:
        assert_same(file.path, content(file.path.name))


async def test_a_model_that_it_fetched_where_links_are_not_to_be_had_is_already_downloaded(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    hub.add(REPO, FILES)
    for name in BUILD:
        pointer = await asyncio.to_thread(official, hub, place, name)
        blob_of(place, name).replace(pointer)  # which is what it does there
    hub.reset_log()
    job = await fetched(engine)
    assert job.state is JobState.ALREADY_DOWNLOADED
    assert_same((await job.result()).path, content(MODEL))
    await hub.stop()
    offline = await fetched(engine)
    assert offline.state is JobState.ALREADY_DOWNLOADED
    assert hub.requests("cdn") == []


async def test_a_blob_in_its_shared_store_is_already_downloaded(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    hub.add(REPO, FILES)
    for name in BUILD:
        await asyncio.to_thread(official, hub, place, name)
    payload = share(place)
    assert scan_cache_dir(place).warnings == []
    hub.reset_log()
    job = await fetched(engine)
    assert job.state is JobState.ALREADY_DOWNLOADED
    assert_same((await job.result()).path, content(MODEL))
    assert hub.requests("cdn") == []
    await hub.stop()
    assert (await fetched(engine)).state is JobState.ALREADY_DOWNLOADED
    assert_same(payload, content(MODEL))


async def test_a_blob_in_its_shared_store_without_a_snapshot_is_only_linked(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    hub.add(REPO, FILES)
    for name in BUILD:
        await asyncio.to_thread(official, hub, place, name)
    share(place)
    shutil.rmtree(folder_of(place) / "snapshots")
    hub.reset_log()
    job = await fetched(engine)
    assert job.state is JobState.ALREADY_DOWNLOADED
    model = await job.result()
    assert_same(model.path, content(MODEL))
    assert model.path.parent.joinpath(model.path.readlink()).resolve() == (
        place / "blobs" / XET_HASH[:2] / XET_HASH
    )
    assert hub.requests("cdn") == []
    assert scan_cache_dir(place).warnings == []


@pytest.mark.parametrize("damage", ["cut", "lengthened", "gone"])
async def test_nothing_is_ever_written_through_a_blob_that_is_a_link(
    hub: FakeHub, engine: Engine, place: Path, damage: str
) -> None:
    hub.add(REPO, FILES)
    for name in BUILD:
        await asyncio.to_thread(official, hub, place, name)
    payload = share(place)
    payload.chmod(0o644)  # so that nothing but good manners protects it
    if damage == "gone":
        payload.unlink()
    else:
        size = content(MODEL).size
        os.truncate(payload, size - 7 if damage == "cut" else size + 7)
    before = payload.read_bytes() if payload.exists() else None
    job = await fetched(engine)
    assert job.state is JobState.COMPLETED
    assert_same((await job.result()).path, content(MODEL))
    assert not blob_of(place).is_symlink()
    assert_same(blob_of(place), content(MODEL))
    assert (payload.read_bytes() if payload.exists() else None) == before
    assert {path.name for path in (place / "blobs").iterdir()} == {
        XET_HASH[:2],
        ".huggingface-shared-blobs",
    }


async def test_we_put_nothing_into_its_shared_store_and_do_not_make_one(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    hub.add(REPO, FILES)
    await fetched(engine)
    assert {path.name for path in place.iterdir()} == {
        "CACHEDIR.TAG",
        ".locks",
        folder_of(place).name,
    }
    assert {path.name for path in folder_of(place).iterdir()} == {"blobs", "refs", "snapshots"}


# Partials -----------------------------------------------------------------------------------------


async def test_a_partial_of_ours_is_listed_as_incomplete_and_causes_no_warning(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    hub.add(REPO, FILES)
    await paused_in_the_middle(hub, engine)
    scan = scan_cache_dir(place)
    assert [file.file_path.name for file in scan.incomplete_files] == incomplete_files(place)
    assert len(scan.incomplete_files) == 1
    assert [str(warning) for warning in scan.warnings] == []


async def test_a_partial_of_ours_beside_a_complete_model_causes_no_warning(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    hub.add(REPO, {**FILES, **SHARDS})
    await fetched(engine, "Q8_0", include_mmproj=False)
    await paused_in_the_middle(hub, engine)
    scan = scan_cache_dir(place)
    assert len(scan.incomplete_files) == 1
    assert scan.warnings == []
    (repo,) = scan.repos
    assert repo.nb_files == 2


async def test_it_fetches_its_own_copy_beside_our_partial_and_ours_finds_that_complete(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    hub.add(REPO, FILES)
    job = await paused_in_the_middle(hub, engine)
    path = await asyncio.to_thread(official, hub, place, MODEL)
    assert_same(path, content(MODEL))
    hub.reset_log()
    await job.resume()
    model = await job.result()
    assert job.state is JobState.COMPLETED
    assert job.status.downloaded_bytes == content(MODEL).size
    assert model.path == path
    assert hub.requests("cdn") == []
    assert scan_cache_dir(place).warnings == []


@pytest.mark.parametrize("how", ["the job goes on", "a new request"])
async def test_a_partial_that_nobody_needs_any_more_does_not_keep_its_space(
    hub: FakeHub, engine: Engine, place: Path, settings_for: Settings, how: str
) -> None:
    hub.add(REPO, FILES)
    job = await paused_in_the_middle(hub, engine)
    await asyncio.to_thread(official, hub, place, MODEL)
    if how == "the job goes on":
        await job.resume()
        await job.result()
    else:
        await engine.close()
        async with Engine(**settings_for(hub)) as another:
            await fetched(another, include_mmproj=False)
    assert incomplete_files(place) == []
    assert sorted(path.name for path in (folder_of(place) / "blobs").iterdir()) == [
        content(MODEL).sha256
    ]


async def test_our_partial_goes_on_where_it_was_after_it_fetched_something_else(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    hub.add(REPO, FILES)
    job = await paused_in_the_middle(hub, engine)
    had = job.status.downloaded_bytes
    await asyncio.to_thread(official, hub, place, NOTE)
    hub.reset_log()
    await job.resume()
    assert_same((await job.result()).path, content(MODEL))
    assert hub.sent_bytes(MODEL) == content(MODEL).size - had
    assert incomplete_files(place) == []


async def test_a_leftover_of_a_version_of_it_that_resumed_is_neither_used_nor_touched(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    hub.add(REPO, FILES)
    old = blob_of(place).with_name(f"{content(MODEL).sha256}.incomplete")
    old.parent.mkdir(parents=True)
    old.write_bytes(b"not of this file")
    job = await fetched(engine)
    assert_same((await job.result()).path, content(MODEL))
    assert old.read_bytes() == b"not of this file"


# At the same time ---------------------------------------------------------------------------------


def is_official(agent: str) -> bool:
    return "hf_hub/" in agent


async def test_it_waits_for_our_download_of_the_same_file_and_uses_that(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    hub.add(REPO, FILES)
    hub.script(Stall(100_000), path=MODEL, skip=1, times=None)
    job = await engine.download(REPO, LABEL, include_mmproj=False)
    async for status in job.events():
        if status.downloaded_bytes > 0:
            break
    theirs = asyncio.create_task(asyncio.to_thread(official, hub, place, MODEL))
    while not any(is_official(r.headers.get("user-agent", "")) for r in hub.requests("hub")):
        await asyncio.sleep(0.001)  # until it has begun; from here on it waits, or comes too late
    hub.unscript()
    assert await theirs == (await job.result()).path
    assert_same(await theirs, content(MODEL))
    agents = {r.headers.get("user-agent", "") for r in hub.requests("cdn")}
    assert not any(is_official(agent) for agent in agents)


async def test_we_wait_for_its_download_of_the_same_file_and_use_that(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    hub.add(REPO, FILES)
    hub.rate = content(MODEL).size * 5  # a fifth of a second, in which we come to wait
    theirs = asyncio.create_task(asyncio.to_thread(official, hub, place, MODEL))
    while not hub.requests("cdn"):
        await asyncio.sleep(0.001)  # until it has begun, which it does with the lock in its hands
    job = await fetched(engine, include_mmproj=False)
    assert await theirs == (await job.result()).path
    assert_same(await theirs, content(MODEL))
    assert len(hub.requests("cdn")) == 1
    assert incomplete_files(place) == []


# Modes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o077, 0o002], ids=["private", "shared"])
def test_the_modes_of_what_we_write_follow_the_umask_as_its_do(tmp_path: Path, umask: int) -> None:
    ours, its = tmp_path / "ours", tmp_path / "its"
    script = (
        "import sys, huggingface_hub, modelfetch; repo, endpoint, ours, its, *names = sys.argv[1:];"
        "modelfetch.fetch(repo, endpoint=endpoint, cache_dir=ours, token=False);"
        "[huggingface_hub.hf_hub_download("
        "repo, name, endpoint=endpoint, cache_dir=its, token=False) for name in names]"
    )
    with FakeHub.in_thread() as hub:
        hub.add(REPO, FILES)
        subprocess.run(
            [sys.executable, "-c", script, REPO, hub.endpoint, str(ours), str(its), *BUILD],
            umask=umask,
            check=True,
            timeout=50,
        )

    def modes(cache: Path) -> dict[str, int]:
        return {
            path.relative_to(cache).as_posix(): stat.S_IMODE(path.stat().st_mode)
            for path in cache.rglob("*")
            if path.suffix != ".lock"  # which it opens to the group whatever the umask says
        }

    written, wanted = modes(ours), modes(its)
    assert written[blob_of(ours).relative_to(ours).as_posix()] == 0o666 & ~umask
    common = written.keys() & wanted.keys()
    assert {f"{folder_of(ours).name}/{name}" for name in ("blobs", "snapshots", "refs")} <= common
    assert {name: written[name] for name in common} == {name: wanted[name] for name in common}
    for name, mode in written.items():
        assert not mode & umask, f"{name} is {mode:o}"


# Without a network --------------------------------------------------------------------------------


@pytest.mark.parametrize("fetched_by", ["modelfetch", "huggingface_hub"])
async def test_a_complete_model_needs_no_hub(
    hub: FakeHub, settings_for: Settings, place: Path, fetched_by: str
) -> None:
    commit = hub.add(REPO, FILES)
    async with Engine(**settings_for(hub)) as engine:
        if fetched_by == "modelfetch":
            await fetched(engine)
        else:
            for name in FILES:
                await asyncio.to_thread(official, hub, place, name)
    await hub.stop()
    for changes in ({}, {"offline": True}):
        async with Engine(**settings_for(hub, **changes)) as engine:
            for revision in (None, "main", commit):
                for quantization in (LABEL, LABEL.lower(), None):
                    job = await fetched(engine, quantization, revision=revision)
                    assert job.state is JobState.ALREADY_DOWNLOADED
                    model = await job.result()
                    assert (model.commit, model.quantization) == (commit, LABEL)
                    assert {file.path.name for file in model.files} == BUILD
                    assert_same(model.path, content(MODEL))


@pytest.mark.parametrize("quantization", ["Q8_0", None])
@pytest.mark.parametrize("revision", ["main", None])
async def test_a_model_that_lacks_a_shard_does(
    hub: FakeHub,
    settings_for: Settings,
    place: Path,
    quantization: str | None,
    revision: str | None,
) -> None:
    hub.add(REPO, SHARDS)
    await asyncio.to_thread(official, hub, place, FIRST_SHARD)
    await hub.stop()
    async with Engine(**settings_for(hub)) as engine:
        with pytest.raises(HubUnavailable) as caught:
            await engine.download(REPO, quantization, revision=revision)
        assert caught.value.host == hub.endpoint.removeprefix("http://")
    async with Engine(**settings_for(hub, offline=True)) as engine:
        with pytest.raises(Offline):
            await engine.download(REPO, quantization, revision=revision)
        assert engine.jobs() == []


async def test_a_partial_alone_is_no_model(hub: FakeHub, settings_for: Settings) -> None:
    commit = hub.add(REPO, FILES)
    async with Engine(**settings_for(hub)) as engine:
        await paused_in_the_middle(hub, engine)
    await hub.stop()
    for changes in ({}, {"offline": True}):
        async with Engine(**settings_for(hub, **changes)) as engine:
            for revision in ("main", commit):
                with pytest.raises(HubUnavailable):
                    await engine.download(REPO, LABEL, revision=revision)


async def test_a_build_that_is_not_there_is_not_replaced_by_one_that_is(
    hub: FakeHub, settings_for: Settings
) -> None:
    hub.add(REPO, {**FILES, **SHARDS})
    async with Engine(**settings_for(hub)) as engine:
        await fetched(engine)
    await hub.stop()
    async with Engine(**settings_for(hub, offline=True)) as engine:
        with pytest.raises(Offline):
            await engine.download(REPO, "Q8_0")
        with pytest.raises(Offline):
            await engine.download(REPO, LABEL, revision="another-branch")
        with pytest.raises(Offline):
            await engine.download("acme/another", LABEL)
