"""The calls of an engine that are under way, and what becomes of them when it closes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from modelfetch.errors import InvalidState, ModelFetchError

__all__ = ["Calls"]


class Calls:
    """Lets calls in while the engine is open; ends those that are inside when it closes."""

    def __init__(self) -> None:
        self._is_open = False
        # A timeout that never comes by itself: it cancels the call's task, and knows its own
        # cancellation from one of the caller's.
        self._inside: set[asyncio.Timeout] = set()
        self._left = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether calls are let in."""
        return self._is_open

    def open(self) -> None:
        """Let calls in from now on.

        Raises:
            InvalidState: They are let in already, or the last of them have not left yet.
        """
        if self._is_open or self._inside:
            raise InvalidState("The engine is open already.")
        self._is_open = True

    def check(self) -> None:
        """See that calls are let in.

        Raises:
            InvalidState: They are not.
        """
        if not self._is_open:
            raise InvalidState("The engine is not open; use it inside 'async with Engine() as …'.")

    @contextlib.asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """Be one of the calls, inside the `async with`.

        Errors leave without what they were raised from: the HTTP library's own error has the
        request in it, with the token and signed URLs.

        Raises:
            InvalidState: The engine is not open, or was closed meanwhile.
        """
        self.check()
        timeout = asyncio.timeout(None)
        try:
            async with timeout:
                self._inside.add(timeout)
                yield
        except TimeoutError:
            if not timeout.expired():
                raise
            raise InvalidState("The engine was closed before the answer came.") from None
        except ModelFetchError as error:
            error.__context__ = None
            raise
        finally:
            self._inside.discard(timeout)
            self._left.set()

    async def end(self) -> None:
        """Let no call in any more, end those inside, and return when they have left."""
        self._is_open = False
        for timeout in self._inside:
            timeout.reschedule(asyncio.get_running_loop().time())
        while self._inside:
            self._left.clear()
            await self._left.wait()
