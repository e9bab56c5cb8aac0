"""Making connections and keeping them: addresses, proxies, TLS, and who waits for all that.

The address is connected to on the loop, where it can be cancelled and raced against the next
(RFC 8305, by the library that aiohttp does it with); the words with a proxy and the handshake are
spoken in a thread, as everything later.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, TypeVarTuple
from urllib.parse import unquote, urlsplit

from aiohappyeyeballs import start_connection

from modelfetch.addresses import Attempt, Resolver
from modelfetch.core.origins import DEFAULT_PORTS, origin
from modelfetch.http1 import Connection
from modelfetch.offload import Offload, settled
from modelfetch.streams import Sealed, Stream, Wired

__all__ = ["Connector", "ProxyRefused", "Seal", "Unreachable", "Route", "abortable", "reason"]

_NEXT_ADDRESS_SECONDS = 0.25
_KEPT_SECONDS = 15.0

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class ProxyRefused(Exception):
    """A proxy does not connect us.

    Attributes:
        status: What it said.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Unreachable(Exception):
    """There is no connection to a host, or to the proxy before it; for this reason."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a connection leads, and how. May hold a proxy's password.

    Attributes:
        scheme, host, port: The origin.
        proxy: URL of the proxy on the way.
    """

    scheme: str
    host: str
    port: int
    proxy: str | None = field(repr=False)

    @classmethod
    def to(cls, url: str, proxy: str | None) -> Route:
        """Return the route to a URL. Raises `ValueError` for one that leads nowhere."""
        scheme, host, port = origin(url)
        return cls(scheme, _ascii(host), port, proxy)

    @property
    def authority(self) -> str:
        """`host[:port]`, as it stands in the field Host (RFC 9110 section 7.2)."""
        host = _bracketed(self.host)
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def is_forwarded(self) -> bool:
        """Whether a proxy is asked for the URL itself, and not for a tunnel."""
        return self.proxy is not None and self.scheme == "http"

    @property
    def proxy_fields(self) -> dict[str, str]:
        """What the proxy wants to know of us."""
        parts = urlsplit(self.proxy or "")
        if parts.username is None:
            return {}
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return {"Proxy-Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}


class Seal:
    """Puts TLS over streams.

    Args:
        trust: Whose certificates count; `None` for OpenSSL's choice, which is loaded when needed.
    """

    def __init__(self, trust: ssl.SSLContext | None) -> None:
        self._trust = trust
        self._tls: ssl.SSLContext | None = None

    def over(self, stream: Stream, route: Route) -> Stream:
        """Shake hands with the origin of `route`; blocking. Raises: as `Sealed`."""
        if self._tls is None:
            tls = self._trust or ssl.create_default_context()
            tls.set_alpn_protocols(["http/1.1"])
            self._tls = tls
        # The dot of an absolute name is for DNS; in certificates (RFC 6066 section 3) it is not.
        return Sealed(stream, self._tls, route.host.removesuffix("."))


class Connector:
    """Connections of one loop.

    Args:
        trust: Whose certificates count; `None` for OpenSSL's choice, which is loaded when needed.
        seconds: How long making a connection may take, with proxy and handshake.
    """

    def __init__(self, trust: ssl.SSLContext | None, seconds: float) -> None:
        self._seal, self._seconds = Seal(trust), seconds
        self._kept: dict[Route, list[tuple[float, Connection]]] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self.resolver = Resolver()

    def idle(self, route: Route) -> Connection | None:
        """Return a connection that was kept, if there is one that is still good."""
        kept = self._kept.get(route, [])
        while kept:
            connection = kept.pop()[1]
            if connection.is_reusable:
                return connection
            connection.close()
        return None

    def keep(self, route: Route, connection: Connection) -> None:
        """Keep a connection for the next request, if it is good for one; else close it."""
        if not connection.is_reusable:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        self._kept.setdefault(route, []).append((loop.time() + _KEPT_SECONDS, connection))
        if self._sweeping is None:
            self._sweeping = loop.call_later(_KEPT_SECONDS, self._sweep)

    async def connect(self, route: Route, attempt: Attempt, threads: Offload) -> Connection:
        """Make a connection.

        Args:
            route: Where to.
            attempt: What it is for.
            threads: Where it is waited for.

        Raises:
            Unreachable: There is no way to the host, or to the proxy before it.
            ProxyRefused: The proxy does not lead on.
            Malformed: What it says is no answer.
            ssl.SSLError: The other end is not who it should be.
            OSError: The connection broke; `TimeoutError` when all that takes too long.
        """
        async with asyncio.timeout(self._seconds):
            near = route if route.proxy is None else Route.to(route.proxy, None)
            try:
                connected = await self._connected(near, attempt)
            except TimeoutError:
                raise
            except (OSError, ValueError) as error:
                raise Unreachable(reason(error)) from None
            wire = Wired(connected)
            try:
                address = str(connected.getpeername()[0])
                stream = await abortable(threads, wire.abort, self._lead, wire, route, near)
            except BaseException as error:
                wire.close()
                if isinstance(error, ValueError) and not isinstance(error, OSError):
                    raise Unreachable(reason(error)) from None  # no certificate has such a name
                raise
        attempt.address = address
        return Connection(stream, address)

    async def close(self) -> None:
        """Close the connections that are kept."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for kept in self._kept.values():
            for _, connection in kept:
                connection.close()
        self._kept.clear()

    async def _connected(self, near: Route, attempt: Attempt) -> socket.socket:
        addresses = await self.resolver.resolve(near.host, near.port, attempt)
        connected = await start_connection(
            addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, interleave=1
        )
        with contextlib.suppress(OSError):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected

    def _lead(self, wire: Stream, route: Route, near: Route) -> Stream:
        """Speak with the proxy and shake hands, as far as that is needed; blocking."""
        stream = self._seal.over(wire, near) if near.scheme == "https" else wire
        if route.proxy is None or route.is_forwarded:
            return stream
        tunnel = Connection(stream, "")
        end = f"{_bracketed(route.host)}:{route.port}"
        tunnel.ask("CONNECT", end, {"Host": end, **route.proxy_fields})
        if tunnel.status != 200:
            raise ProxyRefused(tunnel.status)
        return self._seal.over(stream, route)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeping = None
        for route, kept in list(self._kept.items()):
            fresh = [it for it in kept if it[0] > loop.time()]
            for it in kept:
                if it not in fresh:
                    it[1].close()
            self._kept[route] = fresh
            if not fresh:
                del self._kept[route]
        if self._kept:
            self._sweeping = loop.call_later(_KEPT_SECONDS, self._sweep)


def reason(error: Exception) -> str:
    """Return what can be told of an error: its text may hold the URL, which may be a secret."""
    return getattr(error, "strerror", None) or type(error).__name__


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _ascii(host: str) -> str:
    try:
        return host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        raise ValueError("no host has such a name") from None


async def abortable(
    threads: Offload, abort: Callable[[], None], call: Callable[[*_Ts], _T], *args: *_Ts
) -> _T:
    """Return what `call(*args)` returns in a thread; cancelling aborts it, then waits for its end.

    Args:
        threads: Where.
        abort: Makes the call end soon, with whatever error.
        call: What to run.
        args: Its arguments.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def tell(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone, and so is who waits
            loop.call_soon_threadsafe(_set, ended)

    work = threads.begun(call, *args)
    work.add_done_callback(tell)
    try:
        # Two steps of the loop for each of the many calls: `wrap_future` takes three with `wait`,
        # and five with `shield`.
        await ended
    except asyncio.CancelledError:
        if not work.cancel():  # a thread is at it
            abort()
            await settled(asyncio.wrap_future(work))
        raise
    return work.result()


def _set(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)
