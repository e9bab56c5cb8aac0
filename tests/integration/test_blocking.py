"""`fetch`, where an event loop runs already, as in a notebook."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, assert_is, coded

import modelfetch
from modelfetch.status import JobStatus
from modelfetch.testing import FakeHub, Stall

Settings = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def no_blocking() -> Iterator[None]:
    """Blocking is what is tested here."""
    yield None


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub.in_thread() as hub:
        yield hub


async def in_notebook(settings: dict[str, Any], **more: Any) -> modelfetch.LocalModel:
    """A cell: a coroutine of the running loop, which calls what blocks."""
    return modelfetch.fetch(REPO, LABEL, **settings, **more)


def test_it_works_inside_a_running_loop(hub: FakeHub, settings_for: Settings) -> None:
    content = coded(3 * MiB)
    hub.add(REPO, {FILE: content})
    assert_is(asyncio.run(in_notebook(settings_for(hub))), content)
    with pytest.raises(modelfetch.ModelNotFound):
        asyncio.run(in_notebook(settings_for(hub, endpoint=hub.endpoint + "/nowhere")))


@pytest.mark.skipif(os.name == "nt", reason="no signal can be sent to a thread")
@pytest.mark.parametrize("when", ["planning", "downloading"])
def test_ctrl_c_comes_through_and_keeps_what_came(
    hub: FakeHub, settings_for: Settings, place: Path, when: str
) -> None:
    content = coded(8 * MiB)
    hub.add(REPO, {FILE: content})
    hub.script(Stall(MiB + MiB // 2), times=None)
    is_sent = threading.Event()

    def press_ctrl_c(_: object) -> bool:
        if not is_sent.is_set():
            is_sent.set()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return True

    def on_status(status: JobStatus) -> None:
        if status.downloaded_bytes > 0:
            press_ctrl_c(None)

    if when == "planning":
        hub.script(Stall(0), on="api", times=None, when=press_ctrl_c)
    # A notebook's kernel leaves Python's own handler of SIGINT in place, as this loop does.
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(
                in_notebook(
                    settings_for(hub, read_timeout=600.0, connections=1), on_status=on_status
                )
            )
    finally:
        loop.close()
    assert hub.sent_bytes() < content.size
    for thread in threading.enumerate():
        if thread.name.startswith("modelfetch_"):
            thread.join(20)  # told to end, it may still be about to
            assert not thread.is_alive()
    if when == "downloading":
        assert list(place.rglob("*.incomplete"))
    hub.unscript()
    kept = hub.sent_bytes()
    assert_is(modelfetch.fetch(REPO, LABEL, **settings_for(hub)), content)
    # What was on the wire comes again, no more.
    assert hub.sent_bytes() <= content.size + min(kept, MiB)


def test_what_others_left_unfinished_is_left_to_them(hub: FakeHub, settings_for: Settings) -> None:
    hub.add(REPO, {FILE: coded(MiB)})
    hub.add("acme/left-GGUF", {FILE: coded(4 * MiB, seed=2)})
    settings = settings_for(hub, resume_on_start=True)

    async def leave() -> None:
        async with modelfetch.Engine(**settings) as engine:
            await engine.download("acme/left-GGUF", LABEL, max_bytes_per_second=1)

    asyncio.run(leave())
    hub.reset_log()
    modelfetch.fetch(REPO, LABEL, **settings)
    assert {request.repo for request in hub.requests("cdn")} == {REPO}
