"""Folders of the cache that are links to elsewhere; names that a disk takes for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, assert_is, coded

from modelfetch import Engine, StorageError
from modelfetch.storage import fence
from modelfetch.testing import FakeHub

FOLDER = "models--acme--tiny-GGUF"


@pytest.mark.parametrize(
    "planted",
    [
        FOLDER,
        *(f"{FOLDER}/{name}" for name in ("blobs", "snapshots", "refs", "snapshots/{}")),
        ".locks",
        f".locks/{FOLDER}",
    ],
)
async def test_nothing_is_written_through_a_folder_that_is_a_link(
    hub: FakeHub, engine: Engine, place: Path, tmp_path: Path, planted: str
) -> None:
    commit = hub.add(REPO, {FILE: coded(2 * MiB)})
    outside = tmp_path / "outside"
    outside.mkdir()
    link = place / planted.format(commit)
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    with pytest.raises(StorageError, match="A link to elsewhere"):
        await (await engine.download(REPO, LABEL)).result()
    assert list(outside.iterdir()) == []
    assert hub.requests("cdn") == []


async def test_a_folder_that_becomes_a_link_meanwhile_gets_no_name(
    hub: FakeHub, engine: Engine, place: Path, tmp_path: Path
) -> None:
    commit = hub.add(REPO, {FILE: coded(2 * MiB)})
    await (await engine.download(REPO, LABEL)).result()
    snapshot, outside = place / FOLDER / "snapshots" / commit, tmp_path / "outside"
    (snapshot / FILE).unlink()
    snapshot.rmdir()
    outside.mkdir()
    snapshot.symlink_to(outside)
    with pytest.raises(StorageError, match="A link to elsewhere"):
        await engine.download(REPO, LABEL)
    assert list(outside.iterdir()) == []


async def test_the_root_itself_may_be_a_link(
    hub: FakeHub, settings_for: Any, tmp_path: Path
) -> None:
    content = coded(2 * MiB)
    hub.add(REPO, {FILE: content})
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    async with Engine(**settings_for(hub, cache_dir=tmp_path / "link")) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), content)


async def test_a_name_that_leads_to_another_file_is_put_right(
    hub: FakeHub, engine: Engine, place: Path
) -> None:
    content = coded(2 * MiB)
    commit = hub.add(REPO, {FILE: content})
    other = place / FOLDER / "blobs" / ("a" * 64)
    pointer = place / FOLDER / "snapshots" / commit / FILE
    for path in (other, pointer):
        path.parent.mkdir(parents=True)
    other.write_bytes(bytes(content.size))
    pointer.symlink_to(f"../../blobs/{other.name}")
    assert_is(await (await engine.download(REPO, LABEL)).result(), content)
    assert other.read_bytes() == bytes(content.size)


async def test_two_names_that_the_disk_takes_for_one_are_an_error(
    hub: FakeHub, engine: Engine, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = coded(2 * MiB, 1), coded(2 * MiB, 2)
    commit = hub.add(REPO, {"tiny-Q4_K_M.gguf": one, "TINY-Q4_K_M.gguf": other})
    first = await (await engine.download(REPO, "tiny-Q4_K_M.gguf")).result()
    # As a disk answers that does not tell cases apart: to both names, and with the first one only.
    folder = place / FOLDER / "snapshots" / commit
    (folder / "TINY-Q4_K_M.gguf").symlink_to((folder / "tiny-Q4_K_M.gguf").readlink())
    listed = fence.names_in

    def as_given(parent: Path) -> list[str]:
        return [name for name in listed(parent) if name != "TINY-Q4_K_M.gguf"]

    monkeypatch.setattr(fence, "names_in", as_given)
    with pytest.raises(StorageError, match="differ only in case"):
        await (await engine.download(REPO, "TINY-Q4_K_M.gguf")).result()
    assert_is(first, one)


async def test_without_links_a_file_of_the_other_name_is_not_taken_for_it(
    hub: FakeHub, engine: Engine, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = coded(2 * MiB, 1), coded(2 * MiB, 2)
    commit = hub.add(REPO, {"tiny-Q4_K_M.gguf": one, "TINY-Q4_K_M.gguf": other})
    folder = place / FOLDER / "snapshots" / commit
    folder.mkdir(parents=True)
    for name in ("tiny-Q4_K_M.gguf", "TINY-Q4_K_M.gguf"):
        (folder / name).write_bytes(one.read(0, one.size))
    monkeypatch.setattr(fence, "names_in", lambda parent: [
        path.name for path in parent.iterdir() if path.name != "TINY-Q4_K_M.gguf"
    ])  # fmt: skip
    job = await engine.download(REPO, "tiny-Q4_K_M.gguf")
    assert_is(await job.result(), one)
    assert hub.requests("cdn") == []
    with pytest.raises(StorageError, match="differ only in case"):
        await (await engine.download(REPO, "TINY-Q4_K_M.gguf")).result()


def test_another_unicode_form_of_a_name_is_that_name_where_it_need_not_be_exact(
    tmp_path: Path,
) -> None:
    composed, decomposed = "\u00e9.gguf", "e\u0301.gguf"
    (tmp_path / decomposed).write_text("x")
    assert fence.has_own_name(tmp_path, tmp_path / composed, exactly=False)
    assert not fence.has_own_name(tmp_path, tmp_path / composed, exactly=True)
    assert fence.has_own_name(tmp_path, tmp_path / decomposed, exactly=True)
