"""Models that other programs have on this machine are not fetched."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from huggingface_hub import hf_hub_download
from tests.helpers import FILE, LABEL, REPO, MiB, assert_same, coded, final_names

from modelfetch import Config, Engine, InvalidConfiguration, Job
from modelfetch.cli import _cli
from modelfetch.core.adoption import Place, PlaceKind
from modelfetch.storage import adoption, copying, hashes
from modelfetch.storage.copying import Method
from modelfetch.storage.layout import Layout
from modelfetch.testing import FakeHub
from modelfetch.types import RemoteFile

Settings = Callable[..., dict[str, Any]]
CONTENT = coded(3 * MiB + 1)
DATA = CONTENT.read(0, CONTENT.size)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder in which other programs may have models."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    for name in ("XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "LLAMA_CACHE", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODELFETCH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("MODELFETCH_ADOPT", "1")
    monkeypatch.delenv("MODELFETCH_LMSTUDIO_HOME")
    return home


@pytest.fixture
async def open_engine(
    hub: FakeHub, settings_for: Settings, home: Path
) -> AsyncIterator[Callable[..., Engine]]:
    hub.add(REPO, {FILE: CONTENT})
    yield lambda **more: Engine(**settings_for(hub, **more))


def put(path: Path, data: bytes = DATA) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def about(path: Path) -> tuple[int, int, int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode, found.st_nlink


def ollama(home: Path) -> Path:
    return put(home / ".ollama/models/blobs" / f"sha256-{CONTENT.sha256}")


def lm_studio(home: Path) -> Path:
    return put(home / ".lmstudio/models/someone/Some-GGUF/other-name.gguf")


def moved_lm_studio(home: Path) -> Path:
    elsewhere = home / "big-disk"
    put(home / ".lmstudio/settings.json", f'{{"downloadsFolder": "{elsewhere}"}}'.encode())
    return put(elsewhere / "a/b/c.gguf")


def hub_cache(home: Path) -> Path:
    blobs = home / ".cache/huggingface/hub/models--someone--else/blobs"
    return put(blobs / CONTENT.sha256)


def llama_cpp(home: Path) -> Path:
    return put(home / ".cache/llama.cpp/acme_tiny-GGUF_tiny-Q4_K_M.gguf")


async def fetched(engine: Engine) -> Job:
    job = await engine.download(REPO, LABEL)
    assert_same((await job.result()).path, CONTENT)
    return job


@pytest.mark.parametrize("program", [ollama, lm_studio, moved_lm_studio, hub_cache, llama_cpp])
async def test_what_another_program_has_is_not_fetched_and_not_changed(
    hub: FakeHub, open_engine: Any, home: Path, program: Callable[[Path], Path]
) -> None:
    source = program(home)
    before = about(source)
    async with open_engine() as engine:
        job = await fetched(engine)
    assert hub.requests("cdn") == []
    assert hub.requests("hub", FILE) == []
    assert about(source) == before
    assert source.read_bytes() == DATA
    (file,) = job.status.files
    assert (file.adopted_from, file.verified) == (str(source), True)
    assert file.downloaded_bytes == job.status.downloaded_bytes == CONTENT.size
    assert job.status.bytes_per_second == 0


async def test_a_cache_that_huggingface_hub_filled_elsewhere(
    hub: FakeHub, open_engine: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = home / "theirs"
    await asyncio.to_thread(
        hf_hub_download, REPO, FILE, cache_dir=theirs, endpoint=hub.endpoint, token=False
    )
    monkeypatch.setenv("HF_HUB_CACHE", str(theirs))
    hub.reset_log()
    async with open_engine() as engine:
        await fetched(engine)
    assert hub.requests("cdn") == []


async def test_another_repository_of_this_cache_has_it(
    hub: FakeHub, open_engine: Any, place: Path
) -> None:
    hub.add("acme/other-GGUF", {FILE: CONTENT})
    async with open_engine() as engine:
        first = await (await engine.download("acme/other-GGUF", LABEL)).result()
        hub.reset_log()
        second = await (await fetched(engine)).result()
        assert hub.requests("cdn") == []
        assert first.path.samefile(second.path), "one copy"


async def test_a_folder_that_the_user_names(
    hub: FakeHub, open_engine: Any, home: Path, tmp_path: Path
) -> None:
    source = put(tmp_path / "usb" / "deep" / "down" / "x.bin")
    async with open_engine(adopt_from=[tmp_path / "usb"]) as engine:
        job = await fetched(engine)
    assert job.status.files[0].adopted_from == str(source)
    assert hub.requests("cdn") == []


@pytest.mark.parametrize("layout", ["plain", "lmstudio"])
async def test_what_was_put_into_a_folder_is_not_fetched_for_it_again(
    hub: FakeHub, open_engine: Any, home: Path, tmp_path: Path, layout: str
) -> None:
    """The cache was removed meanwhile, or it is another one."""
    inodes = []
    for number in (1, 2):
        settings = {"local_dir": tmp_path / "models", "cache_dir": tmp_path / str(number)}
        async with open_engine(**settings, layout=layout) as engine:
            inodes.append((await (await fetched(engine)).result()).path.stat().st_ino)
    assert hub.sent_bytes(FILE) == CONTENT.size
    assert inodes[0] == inodes[1]


async def test_a_hard_link_is_made_only_when_it_is_asked_for(
    hub: FakeHub, open_engine: Any, home: Path, tmp_path: Path
) -> None:
    source = ollama(home)
    async with open_engine() as engine:
        model = await (await fetched(engine)).result()
        assert not model.path.samefile(source)
    linked = {"cache_dir": tmp_path / "second", "adopt_by": ("hardlink", "copy")}
    async with open_engine(**linked) as engine:
        model = await (await fetched(engine)).result()
        assert model.path.samefile(source)
    assert hub.requests("cdn") == []


@pytest.mark.parametrize("where", ["named", "sized"])
async def test_a_file_that_is_not_what_it_seems_is_not_taken(
    hub: FakeHub, open_engine: Any, home: Path, place: Path, where: str
) -> None:
    path = ollama(home) if where == "named" else lm_studio(home)
    put(path, DATA[:-1] + b"\x00")
    async with open_engine() as engine:
        job = await fetched(engine)
    assert job.status.files[0].adopted_from is None
    assert hub.sent_bytes(FILE) == CONTENT.size
    assert final_names(place) != []
    assert not list(place.rglob("*adopt*"))


async def test_a_wrong_file_is_passed_over_for_a_right_one(
    hub: FakeHub, open_engine: Any, home: Path
) -> None:
    put(ollama(home), bytes(CONTENT.size))
    right = lm_studio(home)
    async with open_engine() as engine:
        job = await fetched(engine)
    assert job.status.files[0].adopted_from == str(right)
    assert hub.requests("cdn") == []


async def test_what_was_hashed_once_is_not_hashed_again_until_it_changes(
    hub: FakeHub, open_engine: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = lm_studio(home)
    put(other, bytes(CONTENT.size))
    hashed: list[str] = []
    original = adoption.hashed

    def counting(path: Path) -> Any:
        hashed.append("a draft" if "-adopt." in path.name else path.name)
        return original(path)

    monkeypatch.setattr(adoption, "hashed", counting)
    for number in (1, 2):
        async with open_engine(cache_dir=tmp_path / str(number)) as engine:
            await fetched(engine)
    assert hashed == [other.name]
    put(other)
    os.utime(other, ns=(1, 1))
    async with open_engine(cache_dir=tmp_path / "3") as engine:
        await fetched(engine)
    assert hashed[1:] == [other.name, "a draft"]


async def test_the_memory_is_not_believed(
    hub: FakeHub, open_engine: Any, home: Path, tmp_path: Path
) -> None:
    """A file that changed while its size and times stayed the same."""
    source = lm_studio(home)
    async with open_engine(cache_dir=tmp_path / "1") as engine:
        await fetched(engine)
    with source.open("r+b") as file:
        file.write(b"\xff\xff")
    memory = hashes.HashMemory(tmp_path / "state" / "hashes.json")
    await asyncio.to_thread(memory.note, source.stat(), CONTENT.sha256)
    async with open_engine(cache_dir=tmp_path / "2") as engine:
        await fetched(engine)
    assert hub.sent_bytes(FILE) == CONTENT.size


async def test_a_partial_is_not_needed_any_more(
    hub: FakeHub, open_engine: Any, home: Path, place: Path
) -> None:
    blobs = place / "models--acme--tiny-GGUF" / "blobs"
    put(blobs / f"{CONTENT.sha256}.modelfetch.incomplete", b"some")
    ollama(home)
    async with open_engine() as engine:
        await fetched(engine)
    assert [path.name for path in blobs.iterdir()] == [CONTENT.sha256]


@pytest.mark.parametrize("hostile", ["pipe", "folder", "loop", "unreadable", "deep"])
async def test_odd_things_in_the_folders_of_others_do_no_harm(
    hub: FakeHub, open_engine: Any, home: Path, hostile: str
) -> None:
    path = home / ".ollama/models/blobs" / f"sha256-{CONTENT.sha256}"
    path.parent.mkdir(parents=True)
    if hostile == "pipe":
        os.mkfifo(path)
    elif hostile == "folder":
        path.mkdir()
    elif hostile == "loop":
        path.symlink_to(path)
    elif hostile == "unreadable":
        put(path).chmod(0)
    else:
        deep = home / ".lmstudio/models" / "/".join("d" * 300)
        deep.mkdir(parents=True)
        (deep / "loop").symlink_to(home / ".lmstudio/models")
    async with open_engine() as engine:
        await fetched(engine)


async def test_a_cache_of_huggingface_hub_without_links(
    hub: FakeHub, open_engine: Any, home: Path
) -> None:
    """On Windows it moves a file to its name in the snapshot, and there is no blob."""
    repo = home / ".cache/huggingface/hub/models--someone--else"
    source = put(repo / "snapshots" / ("c" * 40) / "sub" / "x.gguf")
    async with open_engine() as engine:
        job = await fetched(engine)
    assert job.status.files[0].adopted_from == str(source)
    assert hub.requests("cdn") == []


def adoption_by(place: Path, source: Path, *, alone: bool) -> adoption.Adoption:
    return adoption.Adoption(
        adoption.Finder([Place(PlaceKind.FOLDER, str(source.parent))]),
        hashes.HashMemory(place / "hashes.json"),
        Layout(place).blob(REPO, CONTENT.sha256),
        RemoteFile(FILE, CONTENT.size, CONTENT.sha256),
        methods=[Method.COPY],
        durable=False,
        alone=alone,
    )


@pytest.mark.parametrize("steps", range(1, 12))
def test_two_that_no_lock_parts_do_not_get_in_each_other_s_way(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """One begins while the other is about to give its copy its name."""
    monkeypatch.setattr(hashes, "STRIDE", MiB)
    monkeypatch.setattr(copying, "STRIDE", MiB)
    source = put(tmp_path / "usb/x.gguf")
    one, other = (adoption_by(place, source, alone=False) for _ in range(2))
    for _ in range(steps):
        one.step()
    for _ in range(5):
        other.step()
    while one.step():
        pass
    final = Layout(place).blob(REPO, CONTENT.sha256).final
    assert one.source == source
    assert_same(final, CONTENT)
    other.close()
    assert [path.name for path in final.parent.iterdir()] == [final.name]


def test_what_a_killed_one_left_goes_with_the_next(place: Path, tmp_path: Path) -> None:
    source = put(tmp_path / "usb/x.gguf")
    paths = Layout(place).blob(REPO, CONTENT.sha256)
    left, other = (put(paths.draft(token, "adopt"), b"some") for token in ("0" * 8, "1" * 8))
    os.utime(left, (1, 1))
    for alone, after in ((False, [other.name]), (True, [])):
        adopting = adoption_by(place, source, alone=alone)
        while adopting.step():
            pass
        assert [path.name for path in paths.drafts("adopt")] == after


async def test_it_can_be_turned_off(hub: FakeHub, open_engine: Any, home: Path) -> None:
    ollama(home)
    async with open_engine(adopt=False) as engine:
        await fetched(engine)
    assert hub.sent_bytes(FILE) == CONTENT.size
    with pytest.raises(InvalidConfiguration):
        Config(adopt_by=("symlink",))


async def test_cancelling_in_the_middle_leaves_nothing(
    hub: FakeHub, open_engine: Any, home: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ollama(home)
    monkeypatch.setattr(hashes, "STRIDE", MiB)
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()
    original = adoption.hashed

    def slow(path: Path) -> Iterator[bool]:
        loop.call_soon_threadsafe(reached.set)
        while True:
            yield True
        yield from original(path)

    monkeypatch.setattr(adoption, "hashed", slow)
    async with open_engine() as engine:
        job = await engine.download(REPO, LABEL)
        await reached.wait()
        await job.cancel()
        assert final_names(place) == []
        assert not list(place.rglob("*.incomplete"))


def test_the_command_says_where_it_was(home: Path, tmp_path: Path) -> None:
    source = put(tmp_path / "usb" / "x.gguf")
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {FILE: CONTENT})
        words = ["get", REPO, "-q", LABEL, "--endpoint", hub.endpoint]
        words += ["--cache-dir", str(tmp_path / "cache")]
        done = CliRunner().invoke(_cli, [*words, "--adopt-from", str(tmp_path / "usb")])
        assert done.exit_code == 0, done.output
        assert f"{FILE} was at {source}: 0 bytes downloaded." in done.stderr
        assert hub.requests("cdn") == []
        words[-1] = str(tmp_path / "other")
        done = CliRunner().invoke(
            _cli, [*words, "--no-adopt", "--adopt-from", str(tmp_path / "usb")]
        )
        assert done.exit_code == 0, done.output
        assert hub.sent_bytes(FILE) == CONTENT.size
    assert hashlib.sha256(source.read_bytes()).hexdigest() == CONTENT.sha256
