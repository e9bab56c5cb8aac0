"""Statuses as server-sent events, https://html.spec.whatwg.org/multipage/server-sent-events.html.

    event: status
    id: 17
    data: {"job_id":"job_493c7c9ded","status":"downloading",...}

Every stream starts with how things are now, so a reader that was away has missed nothing that still
matters. A reader that is slow gets the newest progress and every change of state; one that stops
reading holds what its connection buffers, and no more.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from modelfetch.status import JobStatus
from modelfetch.web.wire import job_object

__all__ = ["EventStreams"]

# A reader who lost the connection tries again after this many milliseconds.
_OPENING = b"retry: 3000\n\n"
_HEARTBEAT = b": still here\n\n"
# The engine makes ten statuses a second for a job. To send one costs about 0.1 ms of the loop, so
# hundreds of readers would slow the transfer down: they share this many events a second.
_EVENTS_PER_SECOND = 200
_TICK_SECONDS = 0.1


class EventStreams:
    """All open streams.

    Args:
        heartbeat_seconds: Longest silence.
    """

    def __init__(self, heartbeat_seconds: float) -> None:
        self._heartbeat = heartbeat_seconds
        self._open = 0
        self._newest: dict[str, tuple[JobStatus, bytes]] = {}

    async def read(
        self, statuses: AsyncGenerator[JobStatus, None], seen: int | None
    ) -> AsyncGenerator[bytes, None]:
        """Yield pieces of a stream until `statuses` ends.

        Args:
            statuses: Closed at the end.
            seen: Sequence of the last status of the one job that the reader has; it is not
                repeated.
        """
        self._open += 1
        try:
            yield _OPENING
            async with aclosing(_with_silence(statuses, self._heartbeat)) as coming:
                async for status in coming:
                    if status is None:
                        yield _HEARTBEAT
                    elif status.job_id is not None and status.sequence != seen:
                        yield self._event(status.job_id, status)
                        if not status.state.is_terminal:
                            await asyncio.sleep(self._pause())
        finally:
            self._open -= 1
            if not self._open:
                self._newest.clear()
            await statuses.aclose()

    def _pause(self) -> float:
        fair = self._open / _EVENTS_PER_SECOND
        return fair if fair > _TICK_SECONDS else 0.0

    def _event(self, job_id: str, status: JobStatus) -> bytes:
        # Readers get the same object, so it is put into words once for all of them.
        known = self._newest.get(job_id)
        if known is not None and known[0] is status:
            return known[1]
        data = json.dumps(job_object(status), separators=(",", ":"))
        event = f"event: status\nid: {status.sequence}\ndata: {data}\n\n".encode()
        self._newest[job_id] = status, event
        return event


async def _with_silence(
    statuses: AsyncGenerator[JobStatus, None], seconds: float
) -> AsyncGenerator[JobStatus | None, None]:
    """Yield the statuses, and `None` whenever there was none for so long."""
    coming: asyncio.Future[JobStatus] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(statuses))
            done, _ = await asyncio.wait({coming}, timeout=seconds)
            if not done:
                yield None
                continue
            try:
                status = coming.result()
            except StopAsyncIteration:
                return
            coming = None
            yield status
    finally:
        if coming is not None and not coming.done():
            coming.cancel()
            await asyncio.wait({coming})
