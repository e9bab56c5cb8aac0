"""One answer of the Hub for all connections of a file."""

from __future__ import annotations

import asyncio

import pytest

from modelfetch.errors import HubUnavailable, ModelNotFound
from modelfetch.hub import Source
from modelfetch.shared import MAX_WHOLES, Signer

AT_ONCE = 1e-9


class Hub:
    """Gives what it is told to; its answers are numbered."""

    def __init__(self, *answers: float | Exception | None) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def locate(self) -> Source:
        self.asked += 1
        answer = self.answers.pop(0)
        await self.may_answer.wait()
        if isinstance(answer, Exception):
            raise answer
        return Source(f"https://cdn.example/{self.asked}", answer)


async def test_a_url_without_an_end_is_used_on() -> None:
    hub = Hub(None)
    signer = Signer(hub.locate)
    assert await signer.current() is await signer.current()


async def test_a_url_is_renewed_before_its_end() -> None:
    hub = Hub(AT_ONCE, 3600.0)
    signer = Signer(hub.locate)
    first, second, third = [await signer.current() for _ in range(3)]
    assert first != second
    assert second is third


async def test_a_hub_that_is_down_costs_no_url_that_still_works() -> None:
    hub = Hub(AT_ONCE, HubUnavailable("down"))
    signer = Signer(hub.locate)
    first = await signer.current()
    assert await signer.current() is first
    assert await signer.current() is first
    assert hub.asked == 2


async def test_who_comes_back_while_a_failure_is_passed_on_asks_with_all_the_others() -> None:
    hub = Hub(*[HubUnavailable("down")] * 30)
    signer = Signer(hub.locate)

    async def connection() -> None:
        for _ in range(3):
            hub.may_answer.clear()
            asyncio.get_running_loop().call_later(0.01, hub.may_answer.set)
            with pytest.raises(HubUnavailable):
                await signer.current()

    await asyncio.gather(*[connection() for _ in range(8)])
    assert hub.asked == 3


async def test_what_the_hub_takes_back_is_not_used_on() -> None:
    hub = Hub(AT_ONCE, ModelNotFound("gone"))
    signer = Signer(hub.locate)
    await signer.current()
    with pytest.raises(ModelNotFound):
        await signer.current()


async def test_all_who_wait_for_one_answer_share_it_if_it_is_an_error_too() -> None:
    hub = Hub(HubUnavailable("silent"), None)
    hub.may_answer.clear()
    signer = Signer(hub.locate)
    waiting = [asyncio.create_task(signer.current()) for _ in range(16)]
    await asyncio.sleep(0)
    hub.may_answer.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(error, HubUnavailable) for error in found)
    assert hub.asked == 1
    assert await signer.current() == Source("https://cdn.example/2")


async def renewed() -> tuple[Signer, Source, Source]:
    """A signer whose first URL was renewed while an answer from it was on its way."""
    signer = Signer(Hub(None, None).locate)
    old = await signer.current()
    signer.refused(old)
    return signer, old, await signer.current()


async def test_the_validator_of_an_old_url_is_not_asked_of_the_new_one() -> None:
    signer, old, new = await renewed()
    signer.accepted(old, '"old edge"')
    assert signer.etag_of(new) is None
    signer.accepted(new, '"new edge"')
    assert (signer.etag_of(new), signer.etag_of(old)) == ('"new edge"', None)


async def test_that_an_old_url_gave_ranges_says_nothing_of_the_new_one() -> None:
    signer, old, new = await renewed()
    signer.gave_range(old)
    assert not signer.means_whole(old)
    assert signer.means_whole(new)
    signer.gave_range(new)
    assert [signer.means_whole(new) for _ in range(MAX_WHOLES)] == [False, False, True]
