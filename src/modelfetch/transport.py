"""HTTP for the bytes: one request, one response, no decision.

Redirects, retries and the meaning of answers belong to others. This module knows connections, and
it is the only place where the token leaves the process for a file: to the Hub's own origin, and no
other. So it is with the headers that the user sets.

Who waits for a connection is a thread (`streams` says why), one for each request that is under way;
on the loop there is one step for some megabytes. A URL is sent as it came: a signed one is a string
of bytes. There are no cookies, and nothing is read from ~/.netrc.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, TypeVarTuple

from modelfetch.addresses import Attempt
from modelfetch.config import Config
from modelfetch.connector import Connector, Route, abortable
from modelfetch.core.origins import host_of, next_url, origin, target_of
from modelfetch.core.refusals import refused_by_proxy
from modelfetch.errors import NetworkError
from modelfetch.http1 import Connection, Malformed
from modelfetch.netfaults import network_errors
from modelfetch.offload import Offload
from modelfetch.surroundings import hub_fields, proxies_for

__all__ = ["Reply", "Transport"]

_MAX_REDIRECTS = 5
# Bytes in the time of one silence below which a connection is as good as silent.
_LIFE = 1 << 10
# A host that ends connections before they are of use: with a new one it is another matter.
_TRIES = 2
# Requests for URLs at once: the jobs and files that run at once by default have no more.
_MOST_HEADS = 64

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


@dataclass(slots=True)
class Reply:
    """A response whose body has not been read.

    Attributes:
        url: Where it came from; may be signed, so not for messages.
        status: Status code.
        headers: Fields; lookup ignores case.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    _connection: Connection
    _threads: Offload
    _patience: float
    _blame: Callable[[], None]
    _came: int = 0
    _waited: float = 0.0

    @property
    def host(self) -> str:
        """`host[:port]` for messages."""
        return host_of(self.url)

    @property
    def request_id(self) -> str | None:
        """The server's id of this request, whatever it calls it."""
        names = ("X-Request-Id", "X-Amz-Cf-Id", "x-amz-request-id", "CF-Ray")
        return next((self.headers[name] for name in names if name in self.headers), None)

    @property
    def waited(self) -> float:
        """Seconds for which its connection has waited for bytes, in all its life."""
        return self._connection.waited

    @property
    def is_over(self) -> bool:
        """Whether the body has ended, as it should or not."""
        return self._connection.is_over

    def blame(self) -> None:
        """Say that the connection was of no use, so that others go to another address."""
        self._blame()

    def receive(self, buffer: memoryview, seconds: float | None, linger: float) -> int:
        """Take bytes of the body into `buffer`; return how many. Blocking: see `during`.

        0 means that the body is over (see `is_over`), or that nothing came in the time given.
        The patience counts while the server is waited for, not while the bytes are put away.

        Args:
            buffer: Where to; not empty.
            seconds: How long to wait for the first byte; `None` for as long as patience is left.
            linger: How long to wait for more, until the buffer is full.

        Raises:
            TimeoutError: The connection stalled or dripped.
            Exception: It broke.
        """
        left = max(0.0, self._patience - self._waited)
        wait = left if seconds is None else min(seconds, left)
        began = time.monotonic()
        count = self._connection.receive(buffer, wait, linger)
        self._waited += time.monotonic() - began
        self._came += count
        if self._came >= _LIFE:
            self._came, self._waited = 0, 0.0
        elif self._waited >= self._patience and not self.is_over:
            raise TimeoutError
        return count

    async def during(self, call: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        """Return what `call(*args)` returns in a thread; `receive` is to be called in such a one.

        Cancelling ends what is being received, waits for the call to end, and passes on.

        Raises:
            NetworkError: The connection broke, stalled or dripped.
        """
        with network_errors(self.url):
            return await abortable(self._threads, self._connection.abort, call, *args)


class Transport:
    """A pool of connections. Make it inside a running loop; close it.

    Args:
        config: Timeouts, endpoint, proxy.
        token: The token for the Hub's origin, `None` for none.
        user_agent: Value of the User-Agent field.
        trust: Whose certificates to trust, `None` for OpenSSL's choice.
    """

    def __init__(
        self,
        config: Config,
        token: str | None,
        user_agent: str,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._hub = origin(config.endpoint)
        self._hub_fields = hub_fields(config, token)
        self._proxies = proxies_for(config)
        self._patience = config.read_timeout
        self._first_byte = config.first_byte_timeout
        self._fields = {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        # A Hub that says nothing to many requests for URLs must not hold up the bytes.
        self._threads, self._asking = Offload(config.connections + 8), Offload(_MOST_HEADS)
        # The patience with a request begins with its turn, not in the line for a thread.
        self._turns = asyncio.Semaphore(_MOST_HEADS)
        self._connector = Connector(trust, config.connect_timeout)

    async def close(self) -> None:
        """Close all connections."""
        await self._connector.close()
        self._threads.close()
        self._asking.close()

    async def head(self, url: str) -> Reply:
        """Send HEAD to `url`, follow nothing.

        Raises:
            NetworkError: No answer.
        """
        async with self._turns, self._request("HEAD", url, {}) as reply:
            return reply

    @contextlib.asynccontextmanager
    async def get(
        self, url: str, headers: Mapping[str, str], *, is_new: bool = False
    ) -> AsyncIterator[Reply]:
        """Send GET to `url`, follow redirects; leaving early closes the connection.

        Args:
            url: Where to.
            headers: Fields besides those of every request.
            is_new: Whether to use connections that nobody has used before, nor will again.

        Raises:
            NetworkError: No answer, or redirects without end.
        """
        for _ in range(_MAX_REDIRECTS):
            async with self._request("GET", url, headers, is_new=is_new) as reply:
                location = reply.headers.get("Location")
                if reply.status not in (301, 302, 303, 307, 308) or location is None:
                    yield reply
                    return
                try:
                    url = next_url(url, location)
                except ValueError as error:
                    host = host_of(url)
                    raise NetworkError(f"{host} sent a bad redirect: {error}.", host=host) from None
        raise NetworkError(f"{host_of(url)} redirects without end.", host=host_of(url))

    @contextlib.asynccontextmanager
    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], *, is_new: bool = False
    ) -> AsyncIterator[Reply]:
        attempt = Attempt()
        try:
            connection, route = await self._answer(method, url, headers, attempt, is_new)
            try:
                yield Reply(
                    url, connection.status, connection.fields, connection, self._threads,
                    self._patience, partial(self._connector.resolver.failed, attempt),
                )  # fmt: skip
            finally:
                if is_new:
                    connection.close()
                else:
                    self._connector.keep(route, connection)
        except NetworkError as error:
            if error.status is None:  # what has a status is an answer, as good as the next
                self._connector.resolver.failed(attempt)
            raise

    async def _answer(
        self, method: str, url: str, headers: Mapping[str, str], attempt: Attempt, is_new: bool
    ) -> tuple[Connection, Route]:
        try:
            route = Route.to(url, proxy := self._proxies.of(url))
        except ValueError as error:
            raise NetworkError(f"{host_of(url)}: {error}.", host=host_of(url)) from None
        with network_errors(url, proxy):
            fields = _merged(
                {"Host": route.authority},
                self._fields,
                self._hub_fields if origin(url) == self._hub else {},
                route.proxy_fields if route.is_forwarded else {},
                headers,
            )
            target = url.partition("#")[0] if route.is_forwarded else target_of(url)
            async with asyncio.timeout(self._first_byte):
                connection = await self._asked(route, attempt, is_new, method, target, fields)
        if proxy is not None and connection.status == 407:
            connection.close()
            raise refused_by_proxy(NetworkError, 407, host_of(proxy), host_of(url))
        return connection, route

    async def _asked(
        self, route: Route, attempt: Attempt, is_new: bool,
        method: str, target: str, fields: Mapping[str, str],
    ) -> Connection:  # fmt: skip
        """Return a connection with the head of an answer."""
        threads = self._asking if method == "HEAD" else self._threads
        for tries_left in reversed(range(_TRIES)):
            connection = None if is_new or not tries_left else self._connector.idle(route)
            if connection is None:
                connection = await self._connector.connect(route, attempt, threads)
            attempt.address = connection.address
            try:
                await abortable(threads, connection.abort, connection.ask, method, target, fields)
            except BaseException as error:
                connection.close()
                if not tries_left or not _may_repeat(error, connection.is_used):
                    raise
                if not connection.is_used:
                    self._connector.resolver.failed(attempt)
            else:
                return connection
        raise AssertionError  # pragma: no cover


def _may_repeat(error: BaseException, is_used: bool) -> bool:
    """Return whether a new connection makes a difference: before any answer, nothing was done.

    On a used one, what is no answer may be a late part of the last.
    """
    return isinstance(error, ConnectionError) or (is_used and isinstance(error, Malformed))


def _merged(*groups: Mapping[str, str]) -> dict[str, str]:
    """Return fields, each once, whatever its case: the last counts."""
    fields = {name.lower(): (name, value) for group in groups for name, value in group.items()}
    return dict(fields.values())
