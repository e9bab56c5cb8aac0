"""Models in a folder of the user's; snapshots on disks without links."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.helpers import FILE, LABEL, REPO, MiB, assert_same, coded

from modelfetch import Cache, Config, Engine, InvalidConfiguration, StorageError
from modelfetch.cli import _cli
from modelfetch.repairs import repair
from modelfetch.storage import copying, hashes, publishing
from modelfetch.storage.copying import Duplicate, Method
from modelfetch.storage.hashes import HashMemory
from modelfetch.storage.publishing import Publication
from modelfetch.testing import FakeHub
from modelfetch.types import FileRole, LocalFile, LocalModel

Settings = Callable[..., dict[str, Any]]
CONTENT = coded(3 * MiB + 1)
MMPROJ = "mmproj-F16.gguf"
SHARDS = {f"sub/tiny-Q8_0-0000{n}-of-00002.gguf": coded(MiB + n, n) for n in (1, 2)}


@pytest.fixture
def local(tmp_path: Path, hub: FakeHub) -> Path:
    hub.add(REPO, {FILE: CONTENT, MMPROJ: coded(100, 3), **SHARDS})
    return tmp_path / "models"


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def no(*_: Any) -> bool:
    return False


async def test_the_files_are_plain_and_the_paths_lead_there(
    hub: FakeHub, settings_for: Settings, local: Path, place: Path
) -> None:
    async with Engine(**settings_for(hub, local_dir=local)) as engine:
        model = await (await engine.download(REPO, LABEL)).result()
        assert (model.path, model.mmproj) == (local / FILE, local / MMPROJ)
        assert files(local) == sorted([FILE, MMPROJ])
        assert not model.path.is_symlink()
        assert_same(model.path, CONTENT)
        shards = await (await engine.download(REPO, "Q8_0", include_mmproj=False)).result()
        assert [file.path for file in shards.files] == [local / name for name in SHARDS]
    assert hub.sent_bytes(FILE) == CONTENT.size
    assert (next(place.glob(f"models--*/snapshots/*/{FILE}"))).is_symlink()


async def test_the_tree_of_lm_studio(hub: FakeHub, settings_for: Settings, local: Path) -> None:
    async with Engine(**settings_for(hub, local_dir=local, layout="lmstudio")) as engine:
        model = await (await engine.download(REPO, LABEL)).result()
    assert model.path == local / "acme" / "tiny-GGUF" / FILE
    assert_same(model.path, CONTENT)


async def test_a_model_that_is_in_the_cache_is_not_fetched_again(
    hub: FakeHub, engine: Engine, settings_for: Settings, local: Path
) -> None:
    await (await engine.download(REPO, LABEL)).result()
    hub.reset_log()
    async with Engine(**settings_for(hub, local_dir=local)) as other:
        job = await other.download(REPO, LABEL)
        assert job.status.state == "already_downloaded"
        assert (await job.result()).path == local / FILE
        before = (local / FILE).stat()
        await (await other.download(REPO, LABEL)).result()
        after = (local / FILE).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert hub.requests("cdn") == []


@pytest.mark.parametrize(
    ("works", "names"), [({"reflink", "hardlink"}, 1), ({"hardlink"}, 2), (set(), 1)]
)
async def test_it_is_shared_where_the_disk_can_and_copied_elsewhere(
    hub: FakeHub,
    settings_for: Settings,
    local: Path,
    monkeypatch: pytest.MonkeyPatch,
    works: set[str],
    names: int,
) -> None:
    cloned: list[Path] = []

    def clone(source: Path, draft: Path) -> bool:
        if "reflink" not in works:
            raise OSError(errno.EOPNOTSUPP, "no such thing here")
        cloned.append(source)
        draft.write_bytes(source.read_bytes())
        return True

    monkeypatch.setattr(copying, "_clone", clone)
    if "hardlink" not in works:
        monkeypatch.setitem(copying._ATTEMPTS, Method.HARDLINK, no)
    async with Engine(**settings_for(hub, local_dir=local)) as engine:
        model = await (await engine.download(REPO, LABEL)).result()
        assert_same(model.path, CONTENT)
        assert model.path.stat().st_nlink == names
        assert bool(cloned) == ("reflink" in works)
        inode = model.path.stat().st_ino
        monkeypatch.setattr(publishing, "hashed", None)
        again = await (await engine.download(REPO, LABEL)).result()
        assert again.path.stat().st_ino == inode, "a copy is not made twice"


async def test_a_file_of_the_user_is_kept_when_it_is_the_same_and_replaced_when_it_is_not(
    hub: FakeHub, settings_for: Settings, local: Path, tmp_path: Path
) -> None:
    local.mkdir()
    (local / FILE).write_bytes(CONTENT.read(0, CONTENT.size))
    (local / MMPROJ).symlink_to(tmp_path / "victim")
    (tmp_path / "victim").write_bytes(b"precious")
    inode = (local / FILE).stat().st_ino
    async with Engine(**settings_for(hub, local_dir=local)) as engine:
        await (await engine.download(REPO, LABEL)).result()
        assert (local / FILE).stat().st_ino == inode
        assert_same(local / MMPROJ, coded(100, 3))
        (local / FILE).write_bytes(bytes(CONTENT.size))
        await (await engine.download(REPO, LABEL)).result()
        assert_same(local / FILE, CONTENT)
    assert (tmp_path / "victim").read_bytes() == b"precious"


async def test_a_file_of_the_same_size_and_time_is_not_taken_for_the_same(
    hub: FakeHub, settings_for: Settings, local: Path
) -> None:
    """Archives and some disks give all files one time."""
    local.mkdir()
    async with Engine(**settings_for(hub)) as engine:
        cached = (await (await engine.download(REPO, LABEL)).result()).path.resolve()
    (local / FILE).write_bytes(bytes(CONTENT.size))
    for path in (cached, local / FILE):
        os.utime(path, ns=(0, 0))
    async with Engine(**settings_for(hub, local_dir=local)) as engine:
        assert_same((await (await engine.download(REPO, LABEL)).result()).path, CONTENT)


def test_a_file_that_is_there_is_hashed_in_steps_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "STRIDE", MiB)
    snapshot, folder = tmp_path / "snapshot", tmp_path / "models"
    for place in (snapshot, folder):
        place.mkdir()
        (place / FILE).write_bytes(CONTENT.read(0, CONTENT.size))
    inode = (folder / FILE).stat().st_ino
    told = CONTENT.sha256
    for sha256, count in ((told, 4), (told, 0), (None, 4), (None, 0)):  # reads of at most 1 MiB
        file = LocalFile(snapshot / FILE, CONTENT.size, sha256, FileRole.MODEL)
        publication = Publication(
            LocalModel(REPO, "c" * 40, LABEL, (file,)), snapshot, folder,
            HashMemory(tmp_path / "hashes.json"), lmstudio=False, durable=False,
        )  # fmt: skip
        steps = 0
        while publication.step():
            steps += 1
        assert steps == count
    assert (folder / FILE).stat().st_ino == inode


async def test_a_file_that_was_changed_and_given_its_old_time_is_put_right(
    hub: FakeHub, settings_for: Settings, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(copying._ATTEMPTS, Method.HARDLINK, no)
    async with Engine(**settings_for(hub, local_dir=local)) as engine:
        path = (await (await engine.download(REPO, LABEL)).result()).path
        when = path.stat().st_mtime_ns
        with path.open("r+b") as stream:
            stream.write(b"\xff\xff")
        os.utime(path, ns=(when, when))
        assert_same((await (await engine.download(REPO, LABEL)).result()).path, CONTENT)


async def test_a_hard_link_that_was_written_to_is_mended_in_both_places(
    hub: FakeHub, settings_for: Settings, local: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_clone", no)
    async with Engine(**settings_for(hub, local_dir=local)) as engine:
        path = (await (await engine.download(REPO, LABEL)).result()).path
        with path.open("r+b") as stream:
            stream.write(b"\xff\xff")
        found = await asyncio.to_thread(Cache(place).verify, repair=True)
        hub.reset_log()
        assert await repair(engine, found.damaged) == {}
        assert hub.sent_bytes(FILE) == MiB
        assert_same((await (await engine.download(REPO, LABEL)).result()).path, CONTENT)
    assert_same(next(place.glob(f"models--*/blobs/{CONTENT.sha256}")), CONTENT)


async def test_a_link_of_the_user_s_becomes_a_plain_file(
    hub: FakeHub, settings_for: Settings, local: Path, tmp_path: Path
) -> None:
    same = tmp_path / "same.gguf"
    same.write_bytes(CONTENT.read(0, CONTENT.size))
    local.mkdir()
    (local / FILE).symlink_to(same)
    async with Engine(**settings_for(hub, local_dir=local)) as engine:
        model = await (await engine.download(REPO, LABEL)).result()
    assert not model.path.is_symlink()
    assert_same(model.path, CONTENT)
    assert_same(same, CONTENT)


async def test_nothing_is_written_through_a_link_in_the_folder(
    hub: FakeHub, settings_for: Settings, local: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    local.mkdir()
    (local / "acme").symlink_to(tmp_path / "outside")
    async with Engine(**settings_for(hub, local_dir=local, layout="lmstudio")) as engine:
        with pytest.raises(StorageError, match="A link to elsewhere"):
            await (await engine.download(REPO, LABEL)).result()
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_copy_that_is_stopped_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "STRIDE", MiB)
    source, draft = tmp_path / "source", tmp_path / "draft"
    source.write_bytes(bytes(3 * MiB))
    duplicate = Duplicate(source, draft, [Method.COPY])
    assert duplicate.step()
    assert duplicate.step()
    duplicate.close()
    assert not draft.exists()


async def test_what_a_killed_process_was_copying_goes_with_the_next_visit(
    hub: FakeHub, settings_for: Settings, local: Path
) -> None:
    local.mkdir()
    old, new, theirs = (local / name for name in (".1.modelfetch.tmp", ".2.modelfetch.tmp", ".tmp"))
    for path in (old, new, theirs):
        path.write_bytes(b"some")
    for path in (old, theirs):
        os.utime(path, (1, 1))
    async with Engine(**settings_for(hub, local_dir=local)) as engine:
        await (await engine.download(REPO, LABEL)).result()
    assert files(local) == sorted([FILE, MMPROJ, new.name, theirs.name])


async def test_a_copy_that_is_under_way_has_a_name_that_is_known_as_such(
    hub: FakeHub, settings_for: Settings, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    original = Duplicate.publish

    def publish(self: Duplicate, target: Path) -> None:
        seen.append([path.name for path in local.glob(".*.modelfetch.tmp")])
        original(self, target)

    monkeypatch.setattr(Duplicate, "publish", publish)
    async with Engine(**settings_for(hub, local_dir=local)) as engine:
        await (await engine.download(REPO, LABEL)).result()
    assert [len(names) for names in seen] == [1, 1]


def test_a_method_that_is_not_allowed_is_not_used(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    for method in (Method.COPY, Method.HARDLINK):
        draft = tmp_path / method
        duplicate = Duplicate(source, draft, [method])
        while duplicate.step():
            pass
        duplicate.publish(tmp_path / f"{method}.out")
        assert duplicate.method is method
        assert (source.stat().st_nlink > 1) == (method is Method.HARDLINK)


def test_settings_that_cannot_work(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration):
        Config(layout="flat")
    assert Config(local_dir=Path("~/x")).local_dir == Path.home() / "x"


def test_the_command_line(tmp_path: Path) -> None:
    local = tmp_path / "models"
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {FILE: CONTENT})
        words = ["get", REPO, "-q", LABEL, "--endpoint", hub.endpoint, "--json"]
        words += ["--cache-dir", str(tmp_path / "cache")]
        words += ["--local-dir", str(local), "--layout", "lmstudio"]
        done = CliRunner().invoke(_cli, words)
        assert done.exit_code == 0, done.output
        last = json.loads(done.stdout.splitlines()[-1])
    assert last["path"] == str(local / REPO / FILE)


# Snapshots without links --------------------------------------------------------------------------

NO_LINKS = [
    PermissionError(errno.EPERM, "not permitted"),
    PermissionError(errno.EACCES, "denied"),
    OSError(errno.EOPNOTSUPP, "not supported"),
    OSError(errno.ENOSYS, "no such call"),
    OSError(errno.EXDEV, "another disk"),
    OSError(errno.EMLINK, "too many links"),
    OSError(22, "a required privilege is not held by the client"),  # Windows' 1314
    FileNotFoundError(errno.ENOENT, "a path that is too long, for Windows"),
    NotImplementedError("no such thing"),
]


def refuse(monkeypatch: pytest.MonkeyPatch, method: str, error: Exception) -> None:
    def call(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(Path, method, call)


@pytest.mark.parametrize("error", NO_LINKS, ids=str)
async def test_where_there_are_no_symbolic_links_there_are_hard_ones(
    hub: FakeHub, engine: Engine, local: Path, place: Path, monkeypatch: Any, error: Exception
) -> None:
    refuse(monkeypatch, "symlink_to", error)
    model = await (await engine.download(REPO, LABEL)).result()
    assert not model.path.is_symlink()
    assert model.path.stat().st_nlink == 2
    assert_same(model.path, CONTENT)
    assert (await engine.download(REPO, LABEL)).status.state == "already_downloaded"


@pytest.mark.parametrize("error", NO_LINKS, ids=str)
async def test_where_there_are_no_links_at_all_the_file_moves_to_its_name(
    hub: FakeHub, engine: Engine, local: Path, place: Path, monkeypatch: Any, error: Exception
) -> None:
    refuse(monkeypatch, "symlink_to", error)
    refuse(monkeypatch, "hardlink_to", error)
    model = await (await engine.download(REPO, LABEL)).result()
    assert_same(model.path, CONTENT)
    assert not model.path.is_symlink()
    assert not (place / "models--acme--tiny-GGUF" / "blobs" / CONTENT.sha256).exists()
    assert (await engine.download(REPO, LABEL)).status.state == "already_downloaded"


async def test_two_names_of_one_content_are_both_there_where_there_are_no_links(
    hub: FakeHub, engine: Engine, place: Path, monkeypatch: Any
) -> None:
    content = coded(MiB)
    names = [f"tiny-Q4_K_M-0000{n}-of-00002.gguf" for n in (1, 2)]
    hub.add(REPO, dict.fromkeys(names, content))
    refuse(monkeypatch, "symlink_to", NO_LINKS[0])
    refuse(monkeypatch, "hardlink_to", NO_LINKS[0])
    model = await (await engine.download(REPO, LABEL)).result()
    assert [file.path.name for file in model.files] == names
    for file in model.files:
        assert_same(file.path, content)


async def test_the_variable_of_the_hub_turns_symbolic_links_off(
    hub: FakeHub, settings_for: Settings, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_SYMLINKS", "1")
    async with Engine(**settings_for(hub)) as engine:
        model = await (await engine.download(REPO, LABEL)).result()
    assert not model.path.is_symlink()
    assert os.stat(model.path).st_nlink == 2  # noqa: PTH116
