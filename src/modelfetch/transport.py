"""HTTP through aiohttp: one request, one response, no decision.

Redirects, retries and the meaning of answers belong to others. This module knows sockets, and it is
the only place where the token leaves the process for a file: to the Hub's own origin, and no other.
So it is with the headers that the user sets.

Settings that matter, and why:

* `auto_decompress=False` and `Accept-Encoding: identity`: ranges count encoded bytes.
* `URL(..., encoded=True)`: yarl would requote a signed URL and break its signature.
* `total=None`: aiohttp's default ends a transfer after five minutes. `connect`, unlike
  `sock_connect`, bounds what a proxy takes too.
* `trust_env=False`: it would send credentials of ~/.netrc to the CDN. `surroundings` finds the
  proxies.
* `DummyCookieJar`: a cookie from a CDN is nobody's business.
* `read_bufsize`: a quarter of a piece. aiohttp holds twice that and more for each connection
  while a piece is written. Twice as much measured 5 % faster over TLS on loopback, with no line
  between, and holds 80 MB at 16 connections instead of 56.
* `max_line_size`, `max_field_size`: signed Location headers pass 8 KiB.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
from yarl import URL

from modelfetch.addresses import Attempt, Resolver
from modelfetch.config import Config
from modelfetch.core.origins import host_of, next_url, origin
from modelfetch.core.refusals import refused_by_proxy
from modelfetch.errors import NetworkError
from modelfetch.surroundings import hub_fields, proxies_for

__all__ = ["Reply", "Transport"]

_READ_BUFFER = 256 << 10
_MAX_HEADER = 32 << 10
_MAX_REDIRECTS = 5
# Bytes in the time of one silence below which a connection is as good as silent.
_LIFE = 1 << 10


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
    _response: aiohttp.ClientResponse
    _patience: float
    _blame: Callable[[], None]

    @property
    def host(self) -> str:
        """`host[:port]` for messages."""
        return host_of(self.url)

    @property
    def request_id(self) -> str | None:
        """The server's id of this request, whatever it calls it."""
        names = ("X-Request-Id", "X-Amz-Cf-Id", "x-amz-request-id", "CF-Ray")
        return next((self.headers[name] for name in names if name in self.headers), None)

    def blame(self) -> None:
        """Say that the connection was of no use, so that others go to another address."""
        self._blame()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, in chunks of any size.

        The clock is of our own: aiohttp's takes any byte for life, and ends with some errors of the
        framing. It runs while the server is waited for, not while the bytes are put away.

        Raises:
            NetworkError: The connection broke, stalled or dripped, or ended before Content-Length.
        """
        content, now = self._response.content, asyncio.get_running_loop().time
        came, waited = 0, 0.0
        while True:
            with _mapped(self.url):
                chunk = content.read_nowait()
                if not chunk:
                    began = now()
                    async with asyncio.timeout(self._patience - waited):
                        chunk = await content.readany()
                    waited += now() - began
            if not chunk:
                return
            came += len(chunk)
            if came >= _LIFE:
                came, waited = 0, 0.0
            yield chunk


class Transport:
    """A pool of connections. Make it inside a running loop; close it.

    Args:
        config: Timeouts, endpoint, proxy.
        token: The token for the Hub's origin, `None` for none.
        user_agent: Value of the User-Agent field.
        trust: Whose certificates to trust, `None` for aiohttp's choice.
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
        self._trust: ssl.SSLContext | bool = True if trust is None else trust
        self._patience = config.read_timeout
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=config.connect_timeout, sock_read=None
        )
        self._first_byte = config.first_byte_timeout
        self._user_agent = user_agent
        self._resolver = Resolver()
        self._session = self._made(keepalive_timeout=15)
        self._unshared: aiohttp.ClientSession | None = None

    def _made(self, **pool: Any) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, ssl=self._trust, resolver=self._resolver, use_dns_cache=False, **pool
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self._user_agent},
            timeout=self._timeout,
            auto_decompress=False,
            trust_env=False,
            read_bufsize=_READ_BUFFER,
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
        )

    def _session_for(self, is_new: bool) -> aiohttp.ClientSession:
        if not is_new:
            return self._session
        if self._unshared is None:
            self._unshared = self._made(force_close=True)
        return self._unshared

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
        if self._unshared is not None:
            await self._unshared.close()

    async def head(self, url: str) -> Reply:
        """Send HEAD to `url`, follow nothing.

        Raises:
            NetworkError: No answer.
        """
        async with self._request("HEAD", url, {"Accept-Encoding": "identity"}) as reply:
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
            response = await self._answer(method, url, headers, attempt, is_new)
            blame = partial(self._resolver.failed, attempt)
            try:
                yield Reply(url, response.status, response.headers, response, self._patience, blame)
            finally:
                # A body read to its end has given its connection back already.
                response.close() if method == "GET" else response.release()
        except NetworkError as error:
            if error.status is None:  # what has a status is an answer, as good as the next
                self._resolver.failed(attempt)
            raise

    async def _answer(
        self, method: str, url: str, headers: Mapping[str, str], attempt: Attempt, is_new: bool
    ) -> aiohttp.ClientResponse:
        is_hub = origin(url) == self._hub
        sent = {**(self._hub_fields if is_hub else {}), **headers}
        proxy = self._proxies.of(url)
        attempt.begin()
        with _mapped(url, proxy):
            async with asyncio.timeout(self._first_byte):
                response = await self._session_for(is_new).request(
                    method,
                    URL(url, encoded=True),
                    headers=sent,
                    allow_redirects=False,
                    proxy=proxy,
                )
        if proxy is not None and response.status == 407:
            response.close()
            raise refused_by_proxy(NetworkError, 407, host_of(proxy), host_of(url))
        attempt.address = _peer(response) or attempt.address
        return response


def _peer(response: aiohttp.ClientResponse) -> str | None:
    connection = response.connection  # None once the whole body is here
    transport = None if connection is None else connection.transport
    peer = None if transport is None else transport.get_extra_info("peername")
    return str(peer[0]) if peer else None


@contextlib.contextmanager
def _mapped(url: str, proxy: str | None = None) -> Iterator[None]:
    host = host_of(url)
    through = f" through the proxy {host_of(proxy)}" if proxy is not None else ""
    failure: NetworkError | None = None
    try:
        yield
    except (aiohttp.ClientSSLError, ssl.SSLError) as error:
        failure = NetworkError(
            f"No secure connection to {host}{through}: {_text(error)}.",
            host=host,
            hint="Check the clock, and that the CA of a proxy between is in SSL_CERT_FILE or "
            "ca_bundle.",
        )
    except aiohttp.ClientHttpProxyError as error:
        failure = refused_by_proxy(NetworkError, error.status, host_of(proxy or url), host)
    except aiohttp.ClientProxyConnectionError:
        failure = refused_by_proxy(NetworkError, None, host_of(proxy or url), host)
    except TimeoutError:
        failure = NetworkError(f"{host} was silent for too long{through}.", host=host)
    except aiohttp.ClientConnectorError as error:
        failure = NetworkError(f"{host} cannot be reached{through}: {_text(error)}.", host=host)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        text = f"The connection to {host}{through} broke: {_text(error)}."
        failure = NetworkError(text, host=host)
    # Raised out here, or it would carry aiohttp's error, which has the URL and the token in it.
    if failure is not None:
        raise failure


def _text(error: Exception) -> str:
    # The text of aiohttp's errors may hold the URL, and a signed URL is a secret.
    cause = getattr(error, "os_error", error)
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return type(error).__name__
