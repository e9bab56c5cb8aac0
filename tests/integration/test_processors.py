"""Hash and connections share the processors: both say so while they are at it."""

from __future__ import annotations

from contextlib import asynccontextmanager

from tests.helpers import FILE, REPO, MiB, assert_is, coded

from modelfetch import Engine, carrier, intake, receiver
from modelfetch.cores import Cores
from modelfetch.storage.partial import PartialFile


class Watched(Cores):
    """Knows who is in it."""

    def __init__(self, processors):
        super().__init__(processors)
        self.turns = 0
        EVERY.append(self)

    @asynccontextmanager
    async def turn(self, rank, share):
        async with super().turn(rank, share) as turn:
            self.turns += 1
            assert rank() >= 0
            yield turn


EVERY: list[Watched] = []


async def test_a_hash_keeps_a_processor_and_fast_connections_take_turns(
    hub, settings_for, monkeypatch
):
    EVERY.clear()
    monkeypatch.setattr(carrier, "Cores", Watched)
    for module in (intake, receiver):  # a connection is fast that brings a piece in that
        monkeypatch.setattr(module, "LINGER_SECONDS", 1.0)
    hashing = []
    hash_into = PartialFile.hash_into

    def watched(partial, *args):
        hashing.append(EVERY[0]._hashing)
        hash_into(partial, *args)

    monkeypatch.setattr(PartialFile, "hash_into", watched)
    content = coded(48 * MiB)
    hub.add(REPO, {FILE: content})
    async with Engine(**settings_for(hub, connections=4, isolation="thread")) as engine:
        assert_is(await (await engine.download(REPO)).result(), content)
    (cores,) = EVERY
    assert hashing == [1] * len(hashing) != []
    assert cores.turns > 0
    assert cores._hashing == 0
