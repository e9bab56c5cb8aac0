"""How far a thread may go by itself: as long as all goes well, and not a moment longer."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest

from modelfetch import intake as intake_module
from modelfetch import receiver as module
from modelfetch.core.lease import Lease, Pace
from modelfetch.core.pieces import SpanSet
from modelfetch.core.transfer import Transfer
from modelfetch.cores import Cores
from modelfetch.receiver import Receiver
from modelfetch.shared import Bell, FileProgress
from modelfetch.types import Span

MiB = 1 << 20
SIZE = 32 * MiB
TRICKLE, TRICKLE_SECONDS = 1000, 0.004
CONTENT = bytes(range(251)) * (SIZE // 251 + 1)


class Line:
    """A response whose bytes come at once, `most` of them each time; the loop hears of each."""

    host, is_over, waited = "cdn", False, 0.0

    def __init__(self):
        self._loop = asyncio.get_running_loop()
        self._position = 0
        self.calls, self.slow_from, self.most = 0, SIZE, MiB
        self.at: dict[int, object] = {}

    async def during(self, call, *args):
        self.calls += call.__name__ == "take"
        return await asyncio.to_thread(call, *args)

    def receive(self, buffer, seconds, linger):
        asyncio.run_coroutine_threadsafe(self._heard(), self._loop).result()
        count = min(len(buffer), max(0, self.slow_from - self._position), self.most)
        if not count:
            time.sleep(TRICKLE_SECONDS)
            count = min(len(buffer), TRICKLE)
        buffer[:count] = CONTENT[self._position : self._position + count]
        self._position += count
        return count

    async def _heard(self):
        """What was told is heard by now."""
        if (happens := self.at.pop(self._position, None)) is not None:
            happens()


class Disk:
    def __init__(self):
        self.content = bytearray(SIZE)

    def write(self, offset, parts):
        (part,) = parts
        assert self.content[offset : offset + len(part)] == bytes(len(part)), "written before"
        self.content[offset : offset + len(part)] = part


class Scene:
    def __init__(self, cores=None):
        self.line, self.disk, self.transfer = Line(), Disk(), Transfer(SIZE, SpanSet())
        nothing = SimpleNamespace(
            arrived=lambda *_: None, must_leave=lambda _: False, take=lambda *_: 0.0
        )
        shared = SimpleNamespace(
            cores=cores or Cores(2), most=None, owed=lambda count=0: 0.0, own=nothing
        )
        self.shared = shared
        crew = SimpleNamespace(
            shared=shared, transfer=self.transfer, partial=self.disk, progress=FileProgress(),
            signer=nothing, bell=Bell(), look_for_slow=lambda _: None,
        )  # fmt: skip
        lease = self.transfer.lease(0.0, 0.0)
        assert lease is not None
        self.lease: Lease = lease
        lease.stop = SIZE
        pace = Pace(1e9, 1.0)
        self.receiver = Receiver(crew, self.line, lease, nothing, Span(0, SIZE), None, pace)


@pytest.fixture(autouse=True)
def short_moments(monkeypatch):
    monkeypatch.setattr(intake_module, "LINGER_SECONDS", 1e-9)
    monkeypatch.setattr(module, "LINGER_SECONDS", 5.0)  # any machine is fast enough
    monkeypatch.setattr(module, "MOST_AHEAD", 2 * MiB)


async def test_a_thread_goes_on_while_the_loop_lets_it():
    scene = Scene()
    await scene.receiver.run()
    assert scene.disk.content == CONTENT[:SIZE]
    assert scene.transfer.is_complete
    assert scene.line.calls == 2, "the first piece, then all others"


async def test_what_is_cut_off_is_free_for_others_a_moment_later(monkeypatch):
    monkeypatch.setattr(module, "MOST_AHEAD", SIZE)
    scene, cut, free = Scene(), Span(20 * MiB, SIZE), []
    scene.line.at[4 * MiB] = lambda: setattr(scene.lease, "stop", cut.start)

    def look():
        free.extend(scene.transfer.reserve(cut))
        scene.transfer.unreserve(free)

    scene.line.at[8 * MiB] = look
    await scene.receiver.run()
    assert free == [cut]
    assert scene.disk.content[: cut.start] == CONTENT[: cut.start]
    assert scene.disk.content[cut.start :] == bytes(cut.size)


async def test_a_bound_on_the_speed_ends_what_goes_on_by_itself():
    scene = Scene()
    shared = scene.receiver._shared
    scene.line.at[4 * MiB] = lambda: setattr(shared, "most", 1e9)
    await scene.receiver.run()
    assert scene.transfer.is_complete
    assert scene.line.calls > 20, "a piece each"


async def test_a_fast_connection_that_becomes_a_trickle_is_not_taken_for_fast(monkeypatch):
    for it in (intake_module, module):
        monkeypatch.setattr(it, "LINGER_SECONDS", 0.02)
    scene, speeds = Scene(), []
    scene.line.slow_from = 4 * MiB
    later = 4 * MiB + 200 * TRICKLE

    def look():
        speeds.append(scene.receiver._pace.speed)
        scene.lease.stop = later

    scene.line.at[later] = look
    await scene.receiver.run()
    assert 0 < speeds[0] < 30 * MiB


async def test_who_is_nearer_to_the_front_has_the_processor_next():
    cores = Cores(1)
    scene, order = Scene(cores), []

    async def other():
        async with cores.turn(lambda: -1, lambda: 1.0):
            order.append(scene.receiver._intake.stop)

    scene.line.at[4 * MiB] = lambda: order.append(asyncio.ensure_future(other()))
    await scene.receiver.run()
    task, stopped_at = order
    await task
    assert 4 * MiB <= stopped_at <= 6 * MiB
    assert scene.transfer.is_complete


@pytest.fixture
async def slow_scene(monkeypatch):
    """A connection that is never fast enough to write by itself."""
    monkeypatch.setattr(module, "LINGER_SECONDS", 1e-9)
    scene = Scene()
    scene.line.most = MiB // 16
    return scene


async def test_a_slow_connection_comes_back_with_each_piece_and_not_with_each_arrival(slow_scene):
    await slow_scene.receiver.run()
    assert slow_scene.disk.content == CONTENT[:SIZE]
    assert slow_scene.transfer.is_complete
    assert slow_scene.line.calls == SIZE // MiB


async def test_what_is_cut_off_of_a_slow_one_does_not_come(slow_scene):
    cut = 4 * MiB + slow_scene.line.most
    slow_scene.line.at[cut] = lambda: setattr(slow_scene.lease, "stop", cut)
    await slow_scene.receiver.run()
    assert slow_scene.receiver._intake.stop <= cut + 2 * slow_scene.line.most
    assert slow_scene.disk.content[:cut] == CONTENT[:cut]


async def test_who_is_too_many_leaves_within_a_piece(slow_scene):
    leaves = []
    slow_scene.receiver._lane.must_leave = lambda _: bool(leaves)
    at = 4 * MiB + slow_scene.line.most
    slow_scene.line.at[at] = lambda: leaves.append(True)
    await slow_scene.receiver.run()
    stop = slow_scene.receiver._intake.stop
    assert at <= stop <= at + 2 * slow_scene.line.most
    assert slow_scene.disk.content[:stop] == CONTENT[:stop], "all that came was written"


async def test_what_comes_slowly_is_not_held_until_the_piece_is_full(slow_scene, monkeypatch):
    monkeypatch.setattr(module, "HOLD_SECONDS", 0.0)
    written, at = [], 4 * MiB + MiB // 2
    slow_scene.line.at[at] = lambda: written.append(bytes(slow_scene.disk.content[:at]))
    await slow_scene.receiver.run()
    held = at - 2 * slow_scene.line.most
    assert written[0][:held] == CONTENT[:held]
    assert slow_scene.transfer.is_complete
