"""Links planted in the cache by somebody who wants us to write elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, assert_same, coded, final_names

from modelfetch import Engine, StorageError
from modelfetch.testing import FakeHub

FOLDER = "models--acme--tiny-GGUF"


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A file that nobody may touch."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o600)
    yield victim
    assert victim.read_text() == "precious"
    assert victim.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "planted",
    [
        "blobs/{}.modelfetch.incomplete",
        "blobs/{}.modelfetch.journal.tmp",
        "../.locks/" + FOLDER + "/{}.lock",
    ],
)
async def test_a_link_in_place_of_our_files_is_refused(
    hub: FakeHub, engine: Engine, place: Path, victim: Path, planted: str
) -> None:
    content = coded(2 * MiB)
    hub.add(REPO, {FILE: content})
    link = place / FOLDER / planted.format(content.sha256)
    link.parent.resolve().mkdir(parents=True, exist_ok=True)
    (place / FOLDER / "blobs").mkdir(parents=True, exist_ok=True)
    link.symlink_to(victim)
    with pytest.raises(StorageError):
        await (await engine.download(REPO, LABEL)).result()
    assert final_names(place) == []


@pytest.mark.parametrize(
    "planted",
    [
        "blobs/{}.modelfetch.incomplete",
        "blobs/{}.modelfetch.journal",
        "blobs/{}.modelfetch.journal.tmp",
        "../.locks/" + FOLDER + "/{}.lock",
    ],
)
async def test_nothing_is_written_through_a_hard_link_either(
    hub: FakeHub, engine: Engine, place: Path, victim: Path, planted: str
) -> None:
    content = coded(2 * MiB)
    hub.add(REPO, {FILE: content})
    name = place / FOLDER / planted.format(content.sha256)
    for folder in (name.parent.resolve(), place / FOLDER / "blobs"):
        folder.mkdir(parents=True, exist_ok=True)
    name.parent.resolve().joinpath(name.name).hardlink_to(victim)
    model = await (await engine.download(REPO, LABEL)).result()
    assert_same(model.path, content)
    assert not model.path.samefile(victim)
