"""Who gets a lane, in which order, and who must give it back."""

from __future__ import annotations

import asyncio
import collections
import contextlib

import pytest

from modelfetch.core.concurrency import START
from modelfetch.lanes import Lane, Lanes

HOST = "cdn.example"


class Job:
    """Whose a lane is."""


JOBS = collections.defaultdict[str, Job](Job)


class User:
    """Takes a lane, and keeps it until told."""

    def __init__(self, lanes: Lanes, job: str, host: str = HOST) -> None:
        self.lane: Lane | None = None
        self.was_dismissed = False
        self._enough = asyncio.Event()
        self.task = asyncio.create_task(self._use(lanes, job, host))

    async def _use(self, lanes: Lanes, job: str, host: str) -> None:
        async with lanes.lane(host, JOBS[job], job) as self.lane:
            self.was_dismissed = self.lane is None
            if not self.was_dismissed:
                await self._enough.wait()
        self.lane = None

    async def leave(self) -> None:
        self._enough.set()
        await self.task


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def having(users: list[User]) -> int:
    return sum(user.lane is not None for user in users)


async def test_a_host_gets_what_it_is_worth_and_the_engine_no_more_than_its_budget() -> None:
    lanes = Lanes(START + 2, adaptive=True)
    here = [User(lanes, "a") for _ in range(2 * START)]
    there = [User(lanes, "b", "x") for _ in range(2 * START)]
    await settle()
    assert (having(here), having(there)) == (START, 2)
    for user in here[:4]:
        await user.leave()
    await settle()
    assert having(here) + having(there) == START + 2
    for user in here + there:
        user.task.cancel()
    await asyncio.gather(*(user.task for user in here + there), return_exceptions=True)
    free = [User(lanes, "c") for _ in range(4)]
    await settle()
    assert having(free) == 4, "a lane was lost"
    for user in free:
        await user.leave()


async def test_a_fixed_number_is_all_at_once() -> None:
    lanes = Lanes(7, adaptive=False)
    users = [User(lanes, "a") for _ in range(9)]
    await settle()
    assert having(users) == 7
    lane = users[0].lane
    assert lane is not None
    lane.refused(0.0)
    assert lane.may_stay
    for user in users:
        await user.leave()


async def test_a_free_lane_goes_to_the_job_that_has_the_fewest() -> None:
    lanes = Lanes(4, adaptive=False)
    large = [User(lanes, "large") for _ in range(8)]
    await settle()
    small = User(lanes, "small")
    await settle()
    assert small.lane is None
    held = next(user for user in large if user.lane is not None)
    assert held.lane is not None
    assert not held.lane.may_stay, "another job has none"
    await held.leave()
    await settle()
    assert small.lane is not None
    assert having(large) == 3
    other = next(user for user in large if user.lane is not None)
    assert other.lane is not None
    assert other.lane.may_stay, "nobody else waits"
    for user in [*large, small]:
        await user.leave()


async def test_after_a_refusal_lanes_are_given_back() -> None:
    lanes = Lanes(4, adaptive=True)
    users = [User(lanes, "a") for _ in range(5)]
    await settle()
    lane = users[0].lane
    assert lane is not None
    lane.refused(0.0)
    assert (lane.among, lane.may_stay) == (3, False)
    await users[0].leave()
    await settle()
    assert having(users) == 3
    for user in users[1:]:
        await user.leave()


async def test_who_is_dismissed_waits_no_longer() -> None:
    lanes = Lanes(1, adaptive=True)
    first, second = User(lanes, "a"), User(lanes, "b")
    await settle()
    lanes.dismiss("b")
    await settle()
    assert second.was_dismissed
    await first.leave()


async def test_a_lane_given_to_somebody_who_is_cancelled_is_not_lost() -> None:
    lanes = Lanes(1, adaptive=True)
    first, second, third = (User(lanes, job) for job in "abc")
    await settle()
    first._enough.set()
    await asyncio.sleep(0)
    second.task.cancel()  # as it gets the lane
    with contextlib.suppress(asyncio.CancelledError):
        await second.task
    await settle()
    assert third.lane is not None
    await third.leave()


@pytest.mark.parametrize("jobs", [2, 5])
async def test_one_lane_goes_round(jobs: int) -> None:
    lanes, turns = Lanes(1, adaptive=True), []

    async def fetch(job: int) -> None:
        left = 3
        while left:
            async with lanes.lane(HOST, JOBS[str(job)], job) as lane:
                assert lane is not None
                while left:
                    turns.append(job)
                    left -= 1
                    await asyncio.sleep(0)
                    if not lane.may_stay:
                        break

    await asyncio.gather(*(fetch(job) for job in range(jobs)))
    assert turns == [*range(jobs)] * 3


async def test_a_job_with_a_bound_of_its_own_leaves_the_lanes_to_the_others() -> None:
    lanes = Lanes(6, adaptive=False)
    lanes.narrow(JOBS["bounded"])
    bounded = [User(lanes, "bounded") for _ in range(6)]
    free = [User(lanes, "free") for _ in range(6)]
    await settle()
    assert (having(bounded), having(free)) == (1, 5)
    assert all(user.lane.may_stay for user in free if user.lane), "they would have them again"
    lane = next(user.lane for user in bounded if user.lane)
    lane.hindered(True)
    assert lane.may_stay, "one is kept"
    await free[0].leave()
    await free[1].leave()
    await settle()
    assert (having(bounded), having(free)) == (1, 4)
    lane.hindered(False)
    await settle()
    assert having(bounded) == 2, "there was room under its bound"
    lane.hindered(True)
    assert not lane.may_stay
    for user in [*bounded, *free[2:]]:
        user.task.cancel()


async def test_of_requests_that_last_long_as_many_end_as_are_too_many() -> None:
    lanes = Lanes(4, adaptive=True)
    users = [User(lanes, "a") for _ in range(4)]
    await settle()
    held = [user.lane for user in users if user.lane]
    assert not any(lane.must_leave(99.0) for lane in held)
    held[0].refused(0.0)  # three are left
    assert not any(lane.must_leave(1.0) for lane in held), "they end soon"
    assert [lane.must_leave(99.0) for lane in held] == [True, False, False, False]
    assert [lane.must_leave(99.0) for lane in held] == [True, False, False, False]
    assert [lane.may_stay for lane in held[:1]] == [False]
    await users[0].leave()
    assert not any(lane.must_leave(99.0) for lane in held[1:])
    assert all(lane.may_stay for lane in held[1:])
    for user in users[1:]:
        await user.leave()
