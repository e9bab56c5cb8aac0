"""What an engine gives to each of its jobs, and what is being done to them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from modelfetch.offload import carried_out
from modelfetch.scribe import Scribe
from modelfetch.transfers import Transfers
from modelfetch.turns import Turns

__all__ = ["Desk"]

_T = TypeVar("_T")


class Desk:
    """The way from a job to what is not its own.

    What is asked of jobs is carried out here, and not at each job: somebody may hold a job that the
    engine has left out of its list, and what he asks of it has to end before the engine does.

    Args:
        scribe: Writes jobs down.
        turns: How many jobs run at once.
        transfers: Carries jobs out.

    Attributes:
        is_closed: Whether the engine is closed; nothing more is begun then.
    """

    def __init__(self, scribe: Scribe, turns: Turns, transfers: Transfers) -> None:
        self.scribe, self.turns, self.transfers = scribe, turns, transfers
        self.is_closed = False
        self._controls: set[asyncio.Task[Any]] = set()

    async def carry_out(self, control: Coroutine[Any, Any, _T], name: str) -> _T:
        """Do what is asked of a job, to its end; cancelling waits for that, then passes on."""
        task = asyncio.create_task(control, name=name)
        self._controls.add(task)
        task.add_done_callback(self._controls.discard)
        return await carried_out(task)

    async def close(self) -> None:
        """Begin nothing more, and return when all that was begun is over."""
        self.is_closed = True
        while self._controls:
            await asyncio.wait(self._controls)
