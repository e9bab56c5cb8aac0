"""A file that nothing could load is given up at its first bytes; every other one is fetched."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.helpers import (
    FILE,
    LABEL,
    REPO,
    MiB,
    assert_is,
    assert_same,
    coded,
    failure,
    final_names,
)

from modelfetch import Engine, JobState, UnusableModel
from modelfetch.testing import (
    BytesContent,
    Content,
    FakeHub,
    Fault,
    IgnoreRange,
    Reset,
    ShortBody,
    Stall,
    WrongBytes,
    build_gguf,
)
from modelfetch.testing.content import Joined

Settings = Callable[..., dict[str, Any]]
LARGE = 64 * MiB


@pytest.fixture
async def engine(hub: FakeHub, settings_for: Settings) -> AsyncIterator[Engine]:
    async with Engine(**settings_for(hub, check_gguf=True)) as engine:
        yield engine


def patched(content: Content, old: bytes, new: bytes) -> Content:
    """`content` with other bytes at one place of its head."""
    head = content.read(0, 4096)
    assert head.count(old) == 1
    assert len(old) == len(new)
    return Joined(BytesContent(head.replace(old, new)), BytesContent(content.read(4096, MiB)))


def cut(content: Content, size: int) -> Content:
    return BytesContent(content.read(0, size))


def big_endian(size: int) -> Content:
    """A file whose head is in the other byte order; without values and tensors."""
    head = b"GGUF" + struct.pack(">IQQ", 3, 0, 0)
    return Joined(BytesContent(head), coded(size - len(head)))


def strange(head: bytes) -> Content:
    return Joined(BytesContent(head), coded(MiB))


USELESS: dict[str, tuple[Content, str, str]] = {
    "not a GGUF": (coded(LARGE), "not_gguf", "begins with something else"),
    "a page": (strange(b"<!doctype html>"), "not_gguf", "begins with something else"),
    "nothing": (BytesContent(b""), "not_gguf", "begins with something else"),
    "a head cut short": (cut(build_gguf(), 150), "truncated", "more than its 150 bytes"),
    "tensors cut short": (
        cut(build_gguf(size_bytes=LARGE + 1), LARGE),
        "truncated",
        "was cut short",
    ),
    "big-endian": (big_endian(LARGE), "byte_order", "big-endian"),
}


@pytest.mark.parametrize(("content", "code", "says"), USELESS.values(), ids=USELESS)
async def test_what_nothing_could_load_is_given_up_at_its_first_bytes(
    hub: FakeHub, engine: Engine, place: Path, content: Content, code: str, says: str
) -> None:
    hub.add(REPO, {FILE: content})
    hub.rate = 4 * MiB  # a second
    job = await engine.download(REPO, LABEL)
    with pytest.raises(UnusableModel, match=says) as caught:
        await job.result()
    assert caught.value.code == code
    assert caught.value.path == FILE
    assert "check_gguf=False" in str(caught.value)
    assert job.state is JobState.FAILED
    error = job.status.to_dict()["error"]
    assert (error["type"], error["code"]) == ("unusable_model", code)
    # Its head came twice, and what the other connections got in that time.
    assert hub.sent_bytes() <= LARGE // 2
    assert final_names(place) == []
    assert list(place.rglob("*.incomplete")) == [], "its space is free again"


@pytest.mark.parametrize(
    ("split", "says"), [((0, 3), "shard 1 of 3"), ((1, 4), None), ((1, 3), None), ((0, 1), None)]
)
async def test_a_shard_that_says_it_is_another(
    hub: FakeHub, engine: Engine, split: tuple[int, int], says: str | None
) -> None:
    # Of how many there are llama.cpp believes the first shard alone.
    names = [f"m-Q8_0-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    splits = [(0, 3), split, (2, 3)]
    shards = [build_gguf(split=splits[n], seed=n) for n in range(3)]
    hub.add(REPO, dict(zip(names, shards, strict=True)))
    if says is None:
        model = await (await engine.download(REPO, "Q8_0")).result()
        assert len(model.files) == 3
    else:
        error = await failure(engine, REPO, "Q8_0")
        assert isinstance(error, UnusableModel)
        assert (error.code, error.path) == ("wrong_shard", names[1])
        assert says in error.message


async def test_a_first_shard_of_another_set(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, {f"m-Q8_0-0000{n}-of-00002.gguf": build_gguf(split=(n - 1, 3)) for n in (1, 2)})
    error = await failure(engine, REPO, "Q8_0")
    assert (error.code, error.path) == ("wrong_shard", "m-Q8_0-00001-of-00002.gguf")


FILE_TYPE = b"general.file_type" + struct.pack("<I", 4)
I8 = struct.pack("<IQ", 24, 0)  # the tensor's type and offset
PASSING: dict[str, Content] = {
    "a sound one": build_gguf(size_bytes=3 * MiB),
    "the smallest": build_gguf(size_bytes=0),
    "another after it": Joined(build_gguf(size_bytes=MiB), coded(MiB)),
    "version 1": strange(b"GGUF" + struct.pack("<I", 1)),
    "version 4": strange(b"GGUF" + struct.pack("<I", 4)),
    "a value of an unknown type": patched(
        build_gguf(size_bytes=MiB), FILE_TYPE, FILE_TYPE[:-4] + struct.pack("<I", 77)
    ),
    "a tensor of an unknown type": cut(
        patched(build_gguf(size_bytes=MiB), I8, struct.pack("<IQ", 4000, 0)), MiB // 2
    ),
}


@pytest.mark.parametrize("content", PASSING.values(), ids=PASSING)
async def test_what_may_be_a_good_file_is_fetched(
    hub: FakeHub, engine: Engine, content: Content
) -> None:
    hub.add(REPO, {FILE: content})
    assert_is(await (await engine.download(REPO, LABEL)).result(), content)


async def test_a_projector_is_looked_at_too(hub: FakeHub, engine: Engine) -> None:
    projector = build_gguf(architecture="clip", size_bytes=MiB)
    hub.add(REPO, {FILE: build_gguf(), "mmproj-F16.gguf": projector})
    model = await (await engine.download(REPO, LABEL)).result()
    assert model.mmproj is not None
    assert_same(model.mmproj, projector)
    hub.add(REPO, {FILE: build_gguf(seed=1), "mmproj-F16.gguf": coded(MiB)})
    error = await failure(engine, REPO, LABEL)
    assert (error.code, error.path) == ("not_gguf", "mmproj-F16.gguf")


def parts_of(whole: Content) -> dict[str, Content]:
    cuts = (0, whole.size // 3, whole.size // 2, whole.size)
    return {
        f"m.Q8_0.gguf.part{number}of3": BytesContent(whole.read(start, stop))
        for number, (start, stop) in enumerate(pairwise(cuts), 1)
    }


@pytest.mark.parametrize("size", [400, 3 * MiB])
async def test_of_byte_parts_the_first_speaks_for_the_whole(
    hub: FakeHub, engine: Engine, size: int
) -> None:
    whole = build_gguf(size_bytes=size)  # of the small one, the head goes on in the next part
    hub.add(REPO, parts_of(whole))
    assert_is(await (await engine.download(REPO, "Q8_0")).result(), whole)


async def test_byte_parts_of_a_file_that_was_cut_short(hub: FakeHub, engine: Engine) -> None:
    hub.add(REPO, parts_of(cut(build_gguf(size_bytes=3 * MiB), 2 * MiB)))
    error = await failure(engine, REPO, "Q8_0")
    assert (error.code, error.path) == ("truncated", "m.Q8_0.gguf")


async def test_a_server_that_sends_a_wrong_head_once_costs_no_more_than_that(
    hub: FakeHub, engine: Engine
) -> None:
    content = build_gguf(size_bytes=6 * MiB)
    hub.add(REPO, {FILE: content})
    hub.rate = 4.0 * MiB  # what is on its way when the head is looked at is lost, and is little
    hub.script(WrongBytes(at=0, count=4), times=1, when=lambda r: r.asked and r.asked[0] == 0)
    assert_is(await (await engine.download(REPO, LABEL)).result(), content)
    assert hub.bytes_sent_twice(FILE) <= 4 * MiB


@pytest.mark.parametrize(
    "fault",
    [Reset(0), Reset(90), ShortBody(3), Stall(100), IgnoreRange(), WrongBytes(at=MiB // 2)],
)
async def test_a_head_that_comes_by_and_by(hub: FakeHub, engine: Engine, fault: Fault) -> None:
    content = build_gguf(size_bytes=3 * MiB + 5)
    hub.add(REPO, {FILE: content})
    hub.script(fault, times=2)
    assert_is(await (await engine.download(REPO, LABEL)).result(), content)


async def test_first_bytes_that_are_on_disk_are_looked_at(
    hub: FakeHub, settings_for: Settings, place: Path
) -> None:
    hub.add(REPO, {FILE: coded(LARGE)})
    hub.rate = 4 * MiB
    async with Engine(**settings_for(hub, check_gguf=False)) as engine:
        job = await engine.download(REPO, LABEL)
        async for status in job.events():
            if status.downloaded_bytes > 4 * MiB:
                break
    before = hub.sent_bytes()
    async with Engine(**settings_for(hub, check_gguf=True)) as engine:
        assert (await failure(engine, REPO, LABEL)).code == "not_gguf"
    assert hub.sent_bytes() - before < LARGE // 2
    assert list(place.rglob("*.incomplete")) == []


async def test_the_check_can_be_turned_off(hub: FakeHub, settings_for: Settings) -> None:
    content = coded(MiB)
    hub.add(REPO, {FILE: content})
    async with Engine(**settings_for(hub, check_gguf=False)) as engine:
        assert_is(await (await engine.download(REPO, LABEL)).result(), content)
