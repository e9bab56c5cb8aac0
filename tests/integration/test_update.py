"""A repository puts up a file again: what of it is here is not fetched once more."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from click.testing import CliRunner
from tests.helpers import FILE, LABEL, REPO, MiB, assert_is, final_names

from modelfetch import Engine, LocalModel
from modelfetch.cli import _cli
from modelfetch.storage.heads import Earlier, earlier_version
from modelfetch.storage.partial import PartialFile
from modelfetch.testing import BytesContent, FakeHub, IgnoreRange, Reset, WrongBytes, build_gguf

Settings = Callable[..., dict[str, Any]]
Model = Callable[..., BytesContent]
TENSORS, ROWS = 10, 512  # of 4 KiB each


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """Write a model of 20 MB."""

    def write(
        template: str = "short",
        *,
        seeds: dict[int, int] | None = None,
        flipped: tuple[int, int] | None = None,
        first: str = "blk",
        kind: type[Any] = np.float32,
    ) -> BytesContent:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_token_list([f"word {n}" for n in range(2000)])
        writer.add_chat_template(template)
        for number in range(TENSORS):
            rng = np.random.default_rng((seeds or {}).get(number, number))
            data = rng.random((ROWS, 1024), dtype=np.float32)
            if flipped is not None and flipped[0] == number:
                data[flipped[1], 0] += 1
            name = f"{first}.0.weight" if number == 0 else f"blk.{number}.weight"
            writer.add_tensor(name, data.astype(kind if number == 1 else np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return BytesContent(path.read_bytes())

    return write


async def fetched(engine: Engine) -> LocalModel:
    return await (await engine.download(REPO, LABEL)).result()


async def test_a_longer_chat_template_costs_less_than_a_twentieth(
    hub: FakeHub, engine: Engine, model: Model
) -> None:
    old, new = model("short"), model("long" * 1000)
    assert new.size - old.size > 3900
    hub.add(REPO, {FILE: old})
    before = await fetched(engine)
    hub.add(REPO, {FILE: new})
    hub.reset_log()
    job = await engine.download(REPO, LABEL)
    assert_is(await job.result(), new)
    assert hub.sent_bytes(FILE) < new.size // 20
    (file,) = job.status.files
    assert file.reused_bytes + hub.sent_bytes(FILE) >= new.size
    assert file.reused_bytes > new.size * 19 // 20
    assert job.status.downloaded_bytes == new.size
    assert "reused_bytes" not in str(job.status.to_dict())
    assert_is(before, old)


async def test_a_head_that_grew_beyond_all_expectation(
    hub: FakeHub, engine: Engine, model: Model
) -> None:
    hub.add(REPO, {FILE: model()})
    await fetched(engine)
    new = model("x" * 700_000)
    hub.add(REPO, {FILE: new})
    hub.reset_log()
    assert_is(await fetched(engine), new)
    assert hub.sent_bytes(FILE) < 700_000 + new.size // 20


async def test_one_tensor_of_another_type_is_all_that_is_fetched(
    hub: FakeHub, engine: Engine, model: Model
) -> None:
    hub.add(REPO, {FILE: model()})
    await fetched(engine)
    new = model(kind=np.float16)
    hub.add(REPO, {FILE: new})
    hub.reset_log()
    assert_is(await fetched(engine), new)
    assert hub.sent_bytes(FILE) < MiB + new.size // 20


async def test_one_number_that_changed_is_found_and_all_is_fetched(
    hub: FakeHub, engine: Engine, model: Model
) -> None:
    hub.add(REPO, {FILE: model()})
    await fetched(engine)
    new = model(flipped=(3, 77))
    hub.add(REPO, {FILE: new})
    hub.reset_log()
    job = await engine.download(REPO, LABEL)
    seen = [status.downloaded_bytes async for status in job.events()]
    assert_is(await job.result(), new)
    assert seen == sorted(seen)
    assert hub.sent_bytes(FILE) <= new.size + new.size // 20
    assert job.status.files[0].reused_bytes == 0


async def test_after_a_copy_in_vain_a_wrong_byte_of_the_server_is_still_repaired(
    hub: FakeHub, engine: Engine, model: Model
) -> None:
    hub.add(REPO, {FILE: model()})
    await fetched(engine)
    new = model(flipped=(3, 77))
    hub.add(REPO, {FILE: new})
    # Heads and samples are small: this is of the bytes that were copied before.
    hub.script(WrongBytes(), times=1, when=lambda r: r.asked and r.asked[1] - r.asked[0] > MiB)
    assert_is(await fetched(engine), new)


async def test_a_model_quantized_anew_shows_in_the_samples(
    hub: FakeHub, engine: Engine, model: Model
) -> None:
    hub.add(REPO, {FILE: model()})
    await fetched(engine)
    new = model(seeds={number: 100 + number for number in range(TENSORS)})
    hub.add(REPO, {FILE: new})
    hub.reset_log()
    job = await engine.download(REPO, LABEL)
    reused = [status.files[0].reused_bytes async for status in job.events() if status.files]
    assert_is(await job.result(), new)
    assert hub.bytes_sent_twice(FILE) == 0
    assert set(reused) == {0}


async def test_bytes_that_went_wrong_on_the_way_cost_a_download_and_no_more(
    hub: FakeHub, engine: Engine, model: Model, place: Path
) -> None:
    hub.add(REPO, {FILE: model()})
    await fetched(engine)
    new = model("long" * 1000)
    hub.add(REPO, {FILE: new})
    hub.script(WrongBytes(at=500, count=1), times=1)
    assert_is(await fetched(engine), new)
    assert [name for name in final_names(place) if "modelfetch" in name] == []


@pytest.mark.parametrize("fault", [IgnoreRange(), Reset(20_000)])
async def test_a_server_that_misbehaves_meanwhile(
    hub: FakeHub, engine: Engine, model: Model, fault: Any
) -> None:
    hub.add(REPO, {FILE: model()})
    await fetched(engine)
    new = model("long" * 1000)
    hub.add(REPO, {FILE: new})
    hub.script(fault, times=3)
    assert_is(await fetched(engine), new)


@pytest.mark.parametrize("damage", ["gone", "short", "other"])
async def test_an_earlier_file_that_is_not_what_it_was(
    hub: FakeHub, engine: Engine, model: Model, damage: str
) -> None:
    hub.add(REPO, {FILE: model()})
    path = (await fetched(engine)).path.resolve()
    if damage == "gone":
        path.unlink()
    elif damage == "short":
        with path.open("r+b") as stream:
            stream.truncate(5 * MiB)
    else:
        path.write_bytes(b"GGUF and no more")
    new = model("long" * 1000)
    hub.add(REPO, {FILE: new})
    hub.reset_log()
    assert_is(await fetched(engine), new)
    assert hub.bytes_sent_twice(FILE) == 0


async def test_an_earlier_file_that_vanishes_before_it_is_copied(
    hub: FakeHub, engine: Engine, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(REPO, {FILE: model()})
    await fetched(engine)

    def vanishing(*args: Any) -> Earlier | None:
        found = earlier_version(*args)
        assert found is not None
        found.path.unlink()
        return found

    monkeypatch.setattr("modelfetch.gatherer.earlier_version", vanishing)
    new = model("long" * 1000)
    hub.add(REPO, {FILE: new})
    hub.reset_log()
    assert_is(await fetched(engine), new)
    assert hub.bytes_sent_twice(FILE) == 0


async def test_an_earlier_file_that_vanishes_while_it_is_copied(
    hub: FakeHub, engine: Engine, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(REPO, {FILE: model()})
    path = (await fetched(engine)).path.resolve()
    monkeypatch.setattr("modelfetch.reuse.STRIDE", MiB)
    copy_from, calls = PartialFile.copy_from, []

    def vanishing(self: PartialFile, *args: Any) -> None:
        calls.append(args)
        if len(calls) == 5:
            path.unlink()
        copy_from(self, *args)

    monkeypatch.setattr(PartialFile, "copy_from", vanishing)
    new = model("long" * 1000)
    hub.add(REPO, {FILE: new})
    hub.reset_log()
    assert_is(await fetched(engine), new)
    assert len(calls) == 5
    assert hub.sent_bytes(FILE) < new.size + new.size // 20


async def test_a_pause_while_copying_keeps_what_was_fetched_and_trusts_no_copied_byte(
    hub: FakeHub, settings_for: Settings, model: Model, monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    monkeypatch.setattr("modelfetch.reuse.STRIDE", MiB)
    copy_from, calls = PartialFile.copy_from, []
    reached, is_pausing = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def waiting(self: PartialFile, *args: Any) -> None:
        copy_from(self, *args)
        calls.append(args)
        if len(calls) == 15:
            loop.call_soon_threadsafe(reached.set)
            is_pausing.wait()

    monkeypatch.setattr(PartialFile, "copy_from", waiting)
    new = model("long" * 1000)
    async with Engine(**settings_for(hub)) as engine:
        hub.add(REPO, {FILE: model()})
        await fetched(engine)
        hub.add(REPO, {FILE: new})
        hub.reset_log()
        job = await engine.download(REPO, LABEL)
        await reached.wait()
        pausing = asyncio.create_task(job.pause())
        await asyncio.sleep(0)
        is_pausing.set()
        await pausing
    (partial,) = place.rglob("*.incomplete")
    with partial.open("r+b") as stream:
        stream.seek(10 * MiB + 5)
        stream.write(b"\xff" * 100)
    async with Engine(**settings_for(hub)) as engine:
        assert_is(await fetched(engine), new)
    assert len(calls) > 15
    assert hub.sent_bytes(FILE) < new.size // 20


async def test_small_files_and_files_without_tensors_are_simply_fetched(
    hub: FakeHub, engine: Engine
) -> None:
    for seed in (1, 2):
        content = build_gguf(size_bytes=MiB // 2, seed=seed)
        hub.add(REPO, {FILE: content})
        hub.reset_log()
        assert_is(await fetched(engine), content)
        assert len(hub.requests("cdn")) == 1


def test_the_command_says_how_much_was_here(model: Model, tmp_path: Path) -> None:
    words = ["get", REPO, "-q", LABEL, "--cache-dir", str(tmp_path / "cache")]
    with FakeHub.in_thread() as hub:
        told = []
        for template in ("short", "long" * 1000):
            hub.add(REPO, {FILE: model(template)})
            done = CliRunner().invoke(_cli, [*words, "--endpoint", hub.endpoint])
            assert done.exit_code == 0, done.output
            told.append([line for line in done.stderr.splitlines() if "was here" in line])
    assert told[0] == []
    assert re.fullmatch(f"{FILE}: 20.* MB of 21.* MB came from .* was here.", told[1][0])
