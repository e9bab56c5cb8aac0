"""A crash at any point of a download: what is found next time is right, and little is lost."""

from __future__ import annotations

import asyncio
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.faults.recorder import Fate, Op, Recorder, after_kill, after_power_cut, built
from tests.helpers import FILE, LABEL, REPO, MiB, assert_is, coded

from modelfetch import Engine, FileRole
from modelfetch.core.pieces import PIECE_SIZE, SpanSet
from modelfetch.storage import disk
from modelfetch.storage.layout import Layout
from modelfetch.storage.partial import PartialFile
from modelfetch.testing import FakeHub
from modelfetch.types import RemoteFile, Span

CONTENT = coded(2 * MiB + 13)
WANTED = CONTENT.read(0, CONTENT.size)
CONNECTIONS = 3
PIECE, RECORD = 1, struct.Struct("<BQII")  # of the journal's format
# Names, data and journal, each as far as it was not flushed.
CUTS = [
    (Fate.KEPT, Fate.ZEROS, Fate.KEPT),
    (Fate.KEPT, Fate.LOST, Fate.KEPT),
    (Fate.KEPT, Fate.TORN, Fate.KEPT),
    (Fate.KEPT, Fate.KEPT, Fate.LOST),
    (Fate.KEPT, Fate.KEPT, Fate.TORN),
    (Fate.KEPT, Fate.ZEROS, Fate.ZEROS),
    (Fate.LOST, Fate.KEPT, Fate.KEPT),
    (Fate.LOST, Fate.LOST, Fate.LOST),
    (Fate.TORN, Fate.TORN, Fate.TORN),
]


@pytest.fixture(scope="module")
def ops(tmp_path_factory: pytest.TempPathFactory) -> list[Op]:
    """All that a download did to its cache: stopped once on the way, and flushed often."""
    place = tmp_path_factory.mktemp("recorded") / "cache"
    with FakeHub.in_thread() as hub, pytest.MonkeyPatch.context() as patch:
        hub.add(REPO, {FILE: CONTENT})
        recorder = Recorder(place, patch)
        asyncio.run(fetch_in_two_runs(hub, place))
    return recorder.ops


async def fetch_in_two_runs(hub: FakeHub, place: Path) -> None:
    # Slow enough that pieces come in parts.
    hub.rate = MiB
    async with Engine(
        endpoint=hub.endpoint,
        cache_dir=place,
        token=False,
        connections=CONNECTIONS,
        flush_seconds=0.05,
    ) as engine:
        job = await engine.download(REPO, LABEL)
        async for status in job.events():
            if status.downloaded_bytes > MiB // 2:
                break
        await job.pause()
        hub.rate = 4 * MiB
        await job.resume()
        assert_is(await job.result(), CONTENT)


class States:
    """Folders as crashes leave them, one after the other at the same place."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = Layout(root).blob(REPO, CONTENT.sha256)

    def found(self, made: Any) -> SpanSet:
        """Build a folder, check what nobody may ever see, and return what recovery trusts."""
        shutil.rmtree(self.root, ignore_errors=True)
        built(made, self.root)
        if self.paths.final.exists():
            assert self.paths.final.read_bytes() == WANTED, "a final name means the right bytes"
            return SpanSet([Span(0, CONTENT.size)])
        file = RemoteFile(FILE, CONTENT.size, CONTENT.sha256, None)
        partial = PartialFile(self.paths, file, durable=False, alone=True)
        try:
            partial.open()
            return partial.done
        finally:
            partial.close()

    def check(self, made: Any) -> int:
        """Return how many bytes recovery trusts, all of which must be right."""
        done = self.found(made)
        if not self.paths.final.exists():
            held = self.paths.partial.read_bytes()
            for span in done:
                assert held[span.start : span.stop] == WANTED[span.start : span.stop], str(span)
        return done.size


def is_partial(op: Op) -> bool:
    return op.path.endswith(".modelfetch.incomplete")


def written(ops: list[Op]) -> int:
    """How many bytes of the file the program had written."""
    spans = [op for op in ops if op.kind == "write" and is_partial(op)]
    return SpanSet(Span(op.offset, op.offset + len(op.data)) for op in spans).size


def in_hand(ops: list[Op], torn: bool) -> int:
    """How many of them no record in the journal names yet, the last one not if it is torn."""
    pending: dict[int, int] = {}
    for op in ops[: len(ops) - torn]:
        if op.kind == "write" and is_partial(op):
            pending[op.offset + len(op.data)] = len(op.data)
        elif op.kind == "write" and op.path.endswith(".journal") and op.data[0] == PIECE:
            _, start, length, _ = RECORD.unpack(op.data[: RECORD.size])
            pending.pop(start + length, None)
    is_data = torn and bool(ops) and is_partial(ops[-1])
    return sum(pending.values()) + (len(ops[-1].data) if is_data else 0)


def flushed(ops: list[Op]) -> int:
    """How many of them were durable, and known to be: the journal says so, durably."""
    notes = [i for i, op in enumerate(ops) if op.kind == "sync" and ".journal" in op.path]
    flushes = [i for i, op in enumerate(ops) if op.kind == "sync" and is_partial(op)]
    last = max((i for i in flushes if any(note > i for note in notes)), default=0)
    return written(ops[:last])


@pytest.fixture
def states(tmp_path: Path) -> Iterator[States]:
    yield States(tmp_path / "crashed")


def test_the_recording_is_a_download(ops: list[Op], states: States) -> None:
    kinds = [op.kind for op in ops]
    assert kinds.count("sync") >= 6
    assert {"make", "write", "sync", "folder", "rename", "link"} <= set(kinds)
    assert written(ops) == CONTENT.size
    assert states.check(after_kill(ops, len(ops))) == CONTENT.size


def test_killed_anywhere_it_loses_only_what_was_in_hand(ops: list[Op], states: States) -> None:
    for count in range(len(ops) + 1):
        for torn in (None, random.Random(count)):
            trusted = states.check(after_kill(ops, count, torn))
            lost = written(ops[:count]) - trusted
            most = in_hand(ops[:count], torn is not None)
            assert lost <= most <= CONNECTIONS * PIECE_SIZE, f"killed after {count} of {len(ops)}"


def test_a_power_cut_anywhere_loses_only_what_was_not_flushed(
    ops: list[Op], states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "boot_id", lambda: "the next boot")
    for count in range(len(ops) + 1):
        for number, fates in enumerate(CUTS):
            made = after_power_cut(ops, count, *fates, random.Random(count * 100 + number))
            trusted = states.check(made)
            told = f"cut after {count} of {len(ops)}, {', '.join(fates)}"
            assert trusted >= flushed(ops[:count]), told


async def test_the_download_goes_on_from_what_a_crash_left(
    ops: list[Op], hub: FakeHub, states: States, settings_for: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(disk, "boot_id", lambda: "the next boot")
    hub.add(REPO, {FILE: CONTENT})
    for count in range(0, len(ops) + 1, max(1, len(ops) // 16)):
        for fates in (CUTS[0], CUTS[-1]):
            made = after_power_cut(ops, count, *fates, random.Random(count))
            shutil.rmtree(states.root, ignore_errors=True)
            built(made, states.root)
            hub.reset_log()
            settings = settings_for(hub, cache_dir=states.root, connections=CONNECTIONS)
            async with Engine(**settings) as engine:
                model = await (await engine.download(REPO, LABEL)).result()
            assert_is(model, CONTENT)
            assert model.files[0].role is FileRole.MODEL
            # What comes from beyond the durable part may be trusted or not; never more is fetched.
            assert hub.sent_bytes(FILE) <= CONTENT.size - flushed(ops[:count]) + MiB
