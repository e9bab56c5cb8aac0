"""Housekeeping of caches that huggingface_hub filled, judged by its own scan."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import scan_cache_dir, snapshot_download
from tests.helpers import MiB, coded

import modelfetch
from modelfetch import Cache
from modelfetch.testing import FakeHub

REPO, OTHER = "acme/tiny-GGUF", "acme/other-GGUF"
Q4, Q8, NOTE = "tiny-Q4_K_M.gguf", "tiny-Q8_0.gguf", "README.md"
CONTENT = {Q4: coded(2 * MiB + 5, 1), Q8: coded(MiB, 2)}
XET_HASH = "ab" + "0123456789abcdef" * 3 + "0123456789abcd"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {**CONTENT, NOTE: "# tiny\n"})
        hub.add(OTHER, {Q4: CONTENT[Q4]})
        yield hub


@pytest.fixture
def place(hub: FakeHub, tmp_path: Path) -> Path:
    """A cache that huggingface_hub filled."""
    place = tmp_path / "cache"
    for repo in (REPO, OTHER):
        snapshot_download(repo, cache_dir=place, endpoint=hub.endpoint, token=False)
    return place


def blob(place: Path, name: str, repo: str = REPO) -> Path:
    return place / f"models--{repo.replace('/', '--')}" / "blobs" / CONTENT[name].sha256


def share(place: Path) -> Path:
    """Move a blob of both repositories into the store that huggingface_hub 2 shares."""
    store = place / "blobs"
    payload = store / XET_HASH[:2] / XET_HASH
    payload.parent.mkdir(parents=True)
    (store / ".huggingface-shared-blobs").write_text("1\n")
    links = [blob(place, Q4), blob(place, Q4, OTHER)]
    links[0].replace(payload)
    payload.chmod(0o444)
    for link in links:
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(payload, link.parent))
    references = "".join(f"{link.relative_to(place).as_posix()}\n" for link in links)
    payload.with_name(f"{XET_HASH}.refs").write_text(references)
    return payload


def warnings_of(place: Path) -> list[Any]:
    return list(scan_cache_dir(place).warnings)


def test_what_it_fetched_is_listed_and_sound(place: Path) -> None:
    other, tiny = Cache(place).models()
    assert (other.repo, tiny.repo) == (OTHER, REPO)
    assert [build.selector for build in tiny.builds] == ["Q8_0", "Q4_K_M"]
    assert [build.refs for build in tiny.builds] == [("main",), ("main",)]
    assert tiny.others == (NOTE,)
    found = Cache(place).verify()
    assert found.is_sound
    assert (found.checked_files, found.unverifiable) == (4, ())


def test_damage_in_small_files_is_found_by_their_git_hash(place: Path) -> None:
    note = next(place.glob(f"models--*/snapshots/*/{NOTE}"))
    note.write_text("# tINY\n")
    (damaged,) = Cache(place).verify().damaged
    assert [path for _, path in damaged.names] == [NOTE]


def test_what_it_fetched_is_repaired_by_fetching_the_whole(hub: FakeHub, place: Path) -> None:
    path = blob(place, Q8)
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    hub.reset_log()
    assert [file.marked for file in Cache(place).verify(repair=True).damaged] == [True]
    assert warnings_of(place) == []
    modelfetch.fetch(REPO, "Q8_0", endpoint=hub.endpoint, cache_dir=place, token=False)
    assert hub.sent_bytes(Q8) == CONTENT[Q8].size
    assert Cache(place).verify().is_sound


def test_after_removing_one_quantization_its_scan_has_no_warning(place: Path) -> None:
    Cache(place).remove(REPO, "Q4_K_M")
    assert warnings_of(place) == []
    files = {file.file_name for repo in scan_cache_dir(place).repos for rev in repo.revisions
             if repo.repo_id == REPO for file in rev.files}  # fmt: skip
    assert files == {Q8, NOTE}
    Cache(place).remove(REPO)
    assert warnings_of(place) == []
    assert [repo.repo_id for repo in scan_cache_dir(place).repos] == [OTHER]


def test_a_repository_of_which_the_last_file_goes_causes_no_warning(place: Path) -> None:
    Cache(place).remove(OTHER, "Q4_K_M")
    assert warnings_of(place) == []
    assert Cache(place).prune(older_than=-60).items == ()


def test_a_shared_file_goes_with_the_last_repository_that_needs_it(place: Path) -> None:
    payload = share(place)
    usage = Cache(place).disk_usage()
    assert usage.shared_bytes >= CONTENT[Q4].size
    assert Cache(place).verify().is_sound
    Cache(place).remove(REPO)
    assert payload.is_file()
    assert warnings_of(place) == []
    removal = Cache(place).remove(OTHER)
    assert not payload.exists()
    assert removal.freed_bytes >= CONTENT[Q4].size
    assert warnings_of(place) == []


def test_a_damaged_shared_file_is_never_written_to(hub: FakeHub, place: Path) -> None:
    payload = share(place)
    payload.chmod(0o644)
    with payload.open("r+b") as file:
        file.write(b"\xff")
    before = payload.read_bytes()
    found = Cache(place).verify(REPO, repair=True)
    assert len(found.damaged) == 1
    modelfetch.fetch(REPO, "Q4_K_M", endpoint=hub.endpoint, cache_dir=place, token=False)
    assert not blob(place, Q4).is_symlink()
    assert payload.read_bytes() == before
    assert Cache(place).verify(REPO).is_sound


def test_a_shared_file_that_we_have_checksums_of_is_not_moved_either(
    hub: FakeHub, tmp_path: Path
) -> None:
    place = tmp_path / "ours"
    for repo in (REPO, OTHER):
        modelfetch.fetch(repo, "Q4_K_M", endpoint=hub.endpoint, cache_dir=place, token=False)
    payload = share(place)
    payload.chmod(0o644)
    with payload.open("r+b") as file:
        file.write(b"\xff")
    assert len(Cache(place).verify(REPO, repair=True).damaged) == 1
    assert payload.is_file()
    assert not list(blob(place, Q4).parent.glob("*.incomplete"))


def test_a_model_that_was_fetched_at_a_commit_stays(hub: FakeHub, tmp_path: Path) -> None:
    """No branch names the commit once it has moved on, so its ref has its own name."""
    place, settings = tmp_path / "ours", {"endpoint": hub.endpoint, "token": False}
    hub.add(REPO, dict(CONTENT))
    commit = modelfetch.fetch(REPO, "Q8_0", cache_dir=place, **settings).commit
    pinned = modelfetch.fetch(REPO, "Q4_K_M", revision=commit, cache_dir=place, **settings)
    hub.add(REPO, {**CONTENT, Q8: b"GGUF of later"})
    modelfetch.fetch(REPO, "Q8_0", cache_dir=place, check_gguf=False, **settings)
    Cache(place).prune(dry_run=False, older_than=-60)
    assert pinned.path.read_bytes() == CONTENT[Q4].read(0, CONTENT[Q4].size)
    assert warnings_of(place) == []
    (repo,) = scan_cache_dir(place).repos
    assert set(repo.refs) == {"main", commit}
    Cache(place).remove(REPO)
    assert not pinned.path.exists()
    assert warnings_of(place) == []


def test_a_clean_up_takes_what_its_interrupted_downloads_left(place: Path) -> None:
    name = CONTENT[Q8].sha256
    for leftover in (f"{name}.incomplete", f"{name}.0a1b2c3d.incomplete"):
        (blob(place, Q8).parent / leftover).write_bytes(b"x")
    assert len(scan_cache_dir(place).incomplete_files) == 2
    (partials,) = [model.partials for model in Cache(place).models() if model.partials]
    assert [(p.held_bytes, p.percent) for p in partials] == [(1, None), (1, None)]
    removal = Cache(place).prune(dry_run=False, older_than=-60)
    assert len(removal.items) == 2
    assert scan_cache_dir(place).incomplete_files == frozenset()


def test_what_its_process_is_filling_is_left_alone(place: Path) -> None:
    from filelock import FileLock

    partial = blob(place, Q8).parent / f"{'e' * 64}.0a1b2c3d.incomplete"
    partial.write_bytes(b"x")
    lock = place / ".locks" / partial.parents[1].name / f"{'e' * 64}.lock"
    with FileLock(lock):
        removal = Cache(place).prune(dry_run=False, older_than=-60)
        assert (removal.items, len(removal.kept)) == ((), 1)
    assert partial.exists()


def test_a_cache_without_links_is_listed_and_thinned_out(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import file_download

    place = tmp_path / "plain"
    monkeypatch.setattr(file_download, "are_symlinks_supported", lambda *_: False)
    snapshot_download(REPO, cache_dir=place, endpoint=hub.endpoint, token=False)
    (model,) = Cache(place).models()
    assert [build.selector for build in model.builds] == ["Q8_0", "Q4_K_M"]
    found = Cache(place).verify()
    assert (found.checked_files, found.damaged, found.unverifiable) == (3, (), ())
    path = next(place.glob(f"models--*/snapshots/*/{Q8}"))
    with path.open("r+b") as file:
        file.write(b"\xff")
    (damaged,) = Cache(place).verify(repair=True).damaged
    assert [name for _, name in damaged.names] == [Q8]
    assert not path.exists()
    modelfetch.fetch(
        REPO, "Q8_0", endpoint=hub.endpoint, cache_dir=place, token=False, use_symlinks=False
    )
    assert Cache(place).verify().is_sound
    removal = Cache(place).remove(REPO, "Q4_K_M")
    assert removal.freed_bytes >= CONTENT[Q4].size
    assert warnings_of(place) == []
