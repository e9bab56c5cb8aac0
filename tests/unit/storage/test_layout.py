"""What there is of a blob, found by the names in its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfetch.storage import layout as layouts
from modelfetch.storage.layout import Layout
from modelfetch.storage.snapshots import check_space, discard_partials
from modelfetch.types import Plan, PlannedFile

REPO = "acme/tiny-GGUF"
BLOB, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.blob(REPO, BLOB).final.parent.mkdir(parents=True)
    return layout


def test_the_partials_of_a_blob_are_told_from_all_else(layout: Layout) -> None:
    paths = layout.blob(REPO, BLOB)
    own = [paths, paths.private("12345678"), paths.private("abcdef00")]
    draft = paths.draft("12345678")
    others = [layout.blob(REPO, OTHER).partial, draft, paths.rejected, paths.journal, paths.sums]
    foreign = [paths.final.with_name(f"{BLOB}{end}") for end in (".incomplete", ".1234.incomplete")]
    for path in (*(one.partial for one in own), *others, *foreign):
        path.touch()
    assert sorted(paths.partials(), key=str) == sorted(own, key=str)
    assert layout.blob(REPO, "c" * 64).partials() == []
    assert Layout(layout.root / "nowhere").blob(REPO, BLOB).partials() == []


def test_what_is_unfinished_is_told_by_one_look(layout: Layout) -> None:
    paths = layout.blob(REPO, BLOB)
    paths.final.touch()
    paths.sums.touch()
    paths.final.with_name(f"{OTHER}.incomplete").touch()
    assert layout.unfinished(REPO) == set()
    assert layout.unfinished("acme/nowhere") == set()
    for path in (paths.private("1").partial, paths.journal, paths.rejected, paths.draft("1")):
        path.touch()
        assert layout.unfinished(REPO) == {BLOB}
        path.unlink()


def test_a_plan_of_many_files_looks_into_the_folder_once(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tuple(PlannedFile(f"{n}.gguf", 10, f"{n:064x}") for n in range(200))
    layout.blob(REPO, files[7].blob_name).partial.touch()
    looks: list[Path] = []
    names_in = layouts.names_in

    def counted(folder: Path) -> list[str]:
        looks.append(folder)
        return names_in(folder)

    monkeypatch.setattr(layouts, "names_in", counted)
    plan = Plan(REPO, "main", "0" * 40, "Q4_K_M", "", files)
    check_space(layout, plan)
    assert len(looks) == 2, "once for all, once for the one that was begun"
    discard_partials(layout, plan)
    assert len(looks) == 4
    assert not layout.blob(REPO, files[7].blob_name).partial.exists()
