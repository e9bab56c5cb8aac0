"""Whatever names there are, and whatever is planted: nothing is written outside the cache."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelfetch import Cache, FileRole, LocalModel, ModelFetchError, Plan, PlannedFile
from modelfetch.storage import snapshots
from modelfetch.storage.hashes import HashMemory
from modelfetch.storage.layout import Layout
from modelfetch.storage.partial import PartialFile
from modelfetch.storage.publishing import Publication

SHA, COMMIT = "ab" * 32, "cd" * 20
DATA = b"GGUF, or so"
SEVERAL = 300  # in every run; the rest where there is time
MANY = 10_000

WORDS = st.sampled_from(
    [
        *""".. . a B b ~ C: c:x \\\\host \\ con NUL.txt com1 lpt9.gguf a. * ? | victim cache
        blobs snapshots refs .locks main %2e%2e e\u0301 \u00e9 K \u212a COM\u00b9
        \uff0e\uff0e \u2025 \uff0f \u2215 \u202e \u200d \ufeff""".split(),
        *("", " ", "a ", "\0", "\n", "\x1b[2J", "\ud800", "x" * 255, "x" * 4096),
        *(SHA, f"{SHA}.incomplete", f"{SHA}.modelfetch.incomplete"),
    ]
)
PATHS = (
    st.lists(WORDS | st.text(max_size=4), max_size=6).map("/".join)
    | st.lists(WORDS, max_size=4).map("\\".join)
    | st.text(max_size=30)
    | st.integers(0, 40).map(lambda depth: "../" * depth + "victim/planted")
    | st.integers(0, 3000).map(lambda count: "/".join("a" * count))
)
SOUND = st.sampled_from(["m.gguf", "sub/m.gguf", "M.GGUF"])


@contextlib.contextmanager
def sandbox() -> Iterator[tuple[Path, Path]]:
    """A cache and, beside it, what must not change."""
    root = Path(tempfile.mkdtemp(prefix="modelfetch-names-"))
    try:
        victim = root / "victim"
        victim.mkdir()
        (victim / "precious").write_text("precious")
        yield root / "cache", victim
        assert {path.name for path in root.iterdir()} <= {"cache", "local", "victim"}
        assert [path.name for path in victim.rglob("*")] == ["precious"]
        assert (victim / "precious").read_text() == "precious"
    finally:
        shutil.rmtree(root)


def everything(cache: Path, repo: str, revision: str, commit: str, path: str) -> None:
    """Take one file through all that writes, as a download does."""
    layout = Layout(cache)
    file = PlannedFile(path, len(DATA), SHA, role=FileRole.MODEL)
    plan = Plan(repo, revision, commit, "Q4_K_M", "", (file,))
    steps = (
        lambda: snapshots.prepare(layout, plan),
        lambda: snapshots.check_space(layout, plan),
        lambda: fill(layout, plan),
        lambda: publish(layout, snapshots.link(layout, plan), cache.parent / "local"),
        lambda: snapshots.discard_partials(layout, plan),
        lambda: Cache(cache).models() and None,
        lambda: Cache(cache).verify(repair=True) and None,
        lambda: Cache(cache).remove(repo) and None,
        lambda: Cache(cache).prune(dry_run=False, older_than=-60) and None,
    )
    for step in steps:
        with contextlib.suppress(ModelFetchError, ValueError):
            step()


def publish(layout: Layout, model: LocalModel, folder: Path) -> None:
    snapshot = layout.snapshot(model.repo, model.commit)
    memory = HashMemory(folder / "hashes.json")
    publication = Publication(model, snapshot, folder, memory, lmstudio=True, durable=False)
    try:
        while publication.step():
            pass
    finally:
        publication.close()


def fill(layout: Layout, plan: Plan) -> None:
    paths = layout.blob(plan.repo, plan.files[0].blob_name)
    snapshots.prepare(layout, plan)  # which a download does before, and which may refuse
    partial = PartialFile(paths, plan.files[0], durable=False)
    try:
        partial.open()
        partial.write(0, [DATA])
        partial.publish()
    finally:
        partial.close()


def try_names(repo: str, revision: str, commit: str, path: str) -> None:
    with sandbox() as (cache, _):
        everything(cache, repo, revision, commit, path)


NAMES = given(
    repo=st.just("acme/tiny") | PATHS,
    revision=st.just("main") | PATHS,
    commit=st.just(COMMIT) | PATHS,
    path=SOUND | PATHS,
)


@settings(max_examples=SEVERAL)
@example(repo="acme/tiny", revision="main", commit=COMMIT, path="m.gguf")
@example(repo="..", revision="../../victim/x", commit="../..", path="../../../victim/x")
@NAMES
def test_no_name_leads_outside(repo: str, revision: str, commit: str, path: str) -> None:
    try_names(repo, revision, commit, path)


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=MANY)
@NAMES
def test_none_of_many_names_leads_outside(repo: str, revision: str, commit: str, path: str) -> None:
    try_names(repo, revision, commit, path)


FOLDER = "models--acme--tiny"
OURS = (
    ". blobs snapshots snapshots/{1} refs snapshots/{1}/sub refs/refs trees .no_exist blobs/{0} "
    "blobs/{0}.modelfetch.incomplete blobs/{0}.modelfetch.journal blobs/{0}.modelfetch.journal.tmp "
    "blobs/{0}.modelfetch.sums snapshots/{1}/sub/m.gguf refs/main"
)
PLANTED = [f"{FOLDER}/{name}" for name in OURS.format(SHA, COMMIT).split()]
PLANTED += ["../local/acme", "../local/acme/tiny", "../local/acme/tiny/sub"]
PLANTED += ["../local/acme/tiny/sub/m.gguf"]
PLANTED += [".locks", f".locks/{FOLDER}", f".locks/{FOLDER}/{SHA}.lock", "CACHEDIR.TAG", "blobs"]
LINKS = given(
    places=st.lists(st.sampled_from(PLANTED), min_size=1, max_size=3, unique=True),
    targets=st.lists(
        st.sampled_from(["", "precious", "nothing", "new/folder"]), min_size=3, max_size=3
    ),
    revision=st.sampled_from(["main", "refs/pr/1"]),
    late=st.booleans(),
)


def try_links(places: list[str], targets: list[str], revision: str, late: bool) -> None:
    with sandbox() as (cache, victim):
        if late:
            everything_but_removal(cache, revision)
        for place, target in zip(places, targets, strict=False):
            link = cache / place
            with contextlib.suppress(OSError):
                if link.parent.resolve().is_relative_to(victim):
                    continue  # behind a link that is there already
                link.parent.mkdir(parents=True, exist_ok=True)
                if link.is_dir() and not link.is_symlink():
                    shutil.rmtree(link)
                link.unlink(missing_ok=True)
                link.symlink_to(victim / target)
        everything(cache, "acme/tiny", revision, COMMIT, "sub/m.gguf")


def everything_but_removal(cache: Path, revision: str) -> None:
    layout = Layout(cache)
    file = PlannedFile("sub/m.gguf", len(DATA), SHA, role=FileRole.MODEL)
    plan = Plan("acme/tiny", revision, COMMIT, "Q4_K_M", "", (file,))
    fill(layout, plan)
    snapshots.link(layout, plan)


@settings(max_examples=SEVERAL)
@LINKS
def test_no_planted_link_leads_outside(
    places: list[str], targets: list[str], revision: str, late: bool
) -> None:
    try_links(places, targets, revision, late)


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=MANY)
@LINKS
def test_none_of_many_planted_links_leads_outside(
    places: list[str], targets: list[str], revision: str, late: bool
) -> None:
    try_links(places, targets, revision, late)
