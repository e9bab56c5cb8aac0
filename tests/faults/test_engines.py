"""Three engines on one state folder, whose users do anything at any moment; what must hold."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers import FILE, LABEL, MiB, assert_is, coded

from modelfetch import Engine, InvalidState, JobNotFound, JobStatus
from modelfetch.testing import FakeHub

STEPS = 300
REPOS = [f"acme/m{number}-GGUF" for number in range(4)]
CONTENTS = [coded(2 * MiB, number) for number in range(4)]


class Users:
    """Engines, and those who use them.

    Attributes:
        wrong: What must never be seen, and was.
    """

    def __init__(self, settings: dict[str, Any], dice: random.Random) -> None:
        self.settings, self.dice = settings, dice
        self.engines: list[Engine] = []
        self.wrong: list[str] = []

    async def open(self) -> None:
        """Open one more engine, and watch what it shows of each job."""
        resume = self.dice.random() < 0.3
        engine = await Engine(**self.settings, resume_on_start=resume).__aenter__()
        shown: dict[str | None, JobStatus] = {}

        def check(status: JobStatus) -> None:
            last = shown.get(status.job_id)
            shown[status.job_id] = status
            if last is None or last == status or status.job_id is None:
                return
            if status.sequence <= last.sequence or status.downloaded_bytes < last.downloaded_bytes:
                self.wrong.append(f"{last} before {status}")

        engine.on_status(check)
        self.engines.append(engine)

    async def reopen(self) -> None:
        if len(self.engines) == 3:
            engine = self.engines.pop(self.dice.randrange(3))
            await engine.close()
            await self.open()

    async def act(self) -> None:
        """Ask one of the engines for something; that it makes no sense now is an answer."""
        engine, dice = self.dice.choice(self.engines), self.dice
        try:
            if dice.random() < 0.3:
                await engine.download(dice.choice(REPOS), LABEL)
            elif jobs := engine.jobs():
                job = dice.choice(jobs)
                controls: list[Callable[[], Any]] = [
                    job.pause,
                    job.resume,
                    job.cancel,
                    lambda: job.cancel(delete=True),
                    job.retry,
                    lambda: job.prioritize(dice.randrange(3)),
                    lambda: engine.move(str(job.id), dice.randrange(3)),
                    lambda: engine.forget(str(job.id)),
                ]
                await dice.choice(controls)()
        except (InvalidState, JobNotFound) as error:
            if "does not answer" in error.message:
                self.wrong.append(error.message)

    def look(self) -> None:
        """See that no job runs twice."""
        running = [job.id for engine in self.engines for job in engine.jobs() if is_live(job)]
        if len(running) != len(set(running)):
            self.wrong.append(f"twice: {running}")


def view(engine: Engine) -> list[tuple[str | None, str]]:
    return [(job.id, str(job.status.to_dict())) for job in engine.jobs()]


def is_live(job: Any) -> bool:
    return bool(job.life.board.is_live)


@pytest.mark.parametrize("seed", range(2))
async def test_engines_that_share_jobs_agree_whatever_their_users_do(
    hub: FakeHub, settings_for: Callable[..., dict[str, Any]], state_dir: Path, seed: int
) -> None:
    for repo, content in zip(REPOS, CONTENTS, strict=True):
        hub.add(repo, {FILE: content})
    hub.rate = MiB // 4
    users = Users(settings_for(hub, max_jobs=2, read_timeout=5.0), random.Random(seed))
    for _ in range(3):
        await users.open()
    tasks: list[asyncio.Task[None]] = []
    for step in range(STEPS):
        tasks.append(asyncio.create_task(users.reopen() if step % 30 == 29 else users.act()))
        if users.dice.random() < 0.15 and step % 30 != 29:
            users.dice.choice(tasks[step // 30 * 30 :]).cancel()
        await asyncio.sleep(users.dice.random() * 0.04)
        users.look()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        assert ended is None or isinstance(ended, asyncio.CancelledError), repr(ended)
    hub.rate = None
    for repo, content in zip(REPOS, CONTENTS, strict=True):
        job = await users.dice.choice(users.engines).download(repo, LABEL)
        assert_is(await job.result(), content)
    while len({frozenset(view(engine)) for engine in users.engines}) > 1:
        await asyncio.sleep(0.05)
    for engine in users.engines:
        await engine.close()
    assert users.wrong == []
    assert not [path for path in (state_dir / "jobs").iterdir() if ".ask" in path.name]
