"""A Hub and its CDN on loopback sockets, for tests.

    with FakeHub.in_thread() as hub:
        hub.add("acme/tiny-GGUF", {"tiny-Q4_K_M.gguf": build_gguf(size_bytes=1 << 20)})
        hub.script(Reset(at=1000), on="cdn", times=2)
        model = modelfetch.fetch("acme/tiny-GGUF", endpoint=hub.endpoint, cache_dir=folder)
        assert hub.bytes_sent_twice("tiny-Q4_K_M.gguf") == 0

It answers as the real one does, same headers, redirects and error shapes, over real sockets. The
CDN is another origin, its URLs are signed byte by byte and expire.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from modelfetch.testing.cdn import Cdn
from modelfetch.testing.content import Content, as_content
from modelfetch.testing.faults import Fault, Reply
from modelfetch.testing.log import LoggedRequest, asked_span, bytes_sent_twice
from modelfetch.testing.repos import Entry, Repo, is_large
from modelfetch.testing.routes import Routes
from modelfetch.testing.script import Rule, Where
from modelfetch.testing.sending import transports_of

__all__ = ["FakeHub"]


class FakeHub:
    """The servers and their script.

    Args:
        ssl_context: Serve https with this.
        tokens: Access tokens that are valid.
        clock: Tells the seconds since 1970, by which signed URLs expire; see
            `clock.ManualClock`.

    Attributes:
        endpoint: URL of the Hub, once started.
        host: Address to listen on, read when it starts; may be `::1`.
        cdn_url: URL of the CDN, which is another origin.
        page_size: Entries of a page of the tree route and of a search.
        rate: Bytes per second of each CDN connection, `None` for no bound; may change any time.
        url_lifetime: Seconds for which a signed URL is good.
        lists_sizes: Whether the info route gives sizes and hashes (some mirrors do not).
        ignores_queries: Whether a search finds everything, as that of a mirror may.
        renamed: Former names of repositories, or names in another case, and what they are called
            now; who asks for them is redirected.
        announces_xet: Whether large files come with the fields that lead a client to Xet. That
            storage is not served: a client that follows them fails.
        has_escapes: Whether signed URLs have the escapes that many clients change by mistake.
        elsewhere: Says at which URL another server has a file, given repository and path; large
            files then come from there, and its own CDN is not asked. For benchmarks.
        log: Every request, in order of arrival.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        tokens: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.tokens = set(tokens)
        self.clock = clock
        self.repos: dict[str, Repo] = {}
        self.page_size = 1000
        self.rate: float | None = None
        self.url_lifetime = 3600.0
        self.lists_sizes = True
        self.ignores_queries = False
        self.renamed: dict[str, str] = {}
        self.announces_xet = False
        self.has_escapes = True
        self.elsewhere: Callable[[str, str], str] | None = None
        self.log: list[LoggedRequest] = []
        self.endpoint = self.cdn_url = ""
        self.host = "127.0.0.1"
        self.cdn = Cdn(self)
        self._ssl = ssl_context
        self._rules: list[Rule] = []
        self._runners: list[web.AppRunner] = []

    def add(
        self,
        repo_id: str,
        files: Mapping[str, Content | bytes | Path | str],
        *,
        branch: str = "main",
        lfs: Callable[[str, Content], bool] = is_large,
        gated: bool = False,
        private: bool = False,
        disabled: bool = False,
        allowed: Iterable[str] = (),
        tags: Iterable[str] = (),
        downloads: int = 0,
    ) -> str:
        """Make a repository, or push to it; return the commit.

        Args:
            repo_id: `owner/name`.
            files: All files of the commit, by path.
            branch: Branch, or `refs/pr/1`, that will name it.
            lfs: Which files are in large-file storage.
            gated: Whether files need a token in `allowed`.
            private: Whether everything needs one.
            disabled: Whether the repository is shut.
            allowed: Tokens that may read a gated or private repository.
            tags: Tags of its card, such as `base_model:quantized:Qwen/Qwen3-4B`.
            downloads: How often it was downloaded, by which searches sort.
        """
        repo = self.repos.setdefault(repo_id, Repo(repo_id))
        repo.gated, repo.private, repo.disabled = gated, private, disabled
        repo.allowed = frozenset(allowed)
        repo.card_tags, repo.downloads = tuple(tags), downloads
        self.tokens |= repo.allowed
        return repo.push({path: as_content(v) for path, v in files.items()}, branch, lfs)

    def script(
        self,
        fault: Fault,
        *,
        on: Where = "cdn",
        path: str = "*",
        times: int | None = 1,
        skip: int = 0,
        when: Callable[[LoggedRequest], bool] | None = None,
    ) -> None:
        """Make requests go wrong; of several rules that fit, the first one given counts.

        Args:
            fault: How.
            on: The metadata routes, the route that redirects, or the CDN.
            path: Which files (for the metadata routes: which URL paths), as a shell pattern.
            times: How many requests, `None` for all.
            skip: How many that fit pass first.
            when: A further condition.
        """
        self._rules.append(Rule(fault, on, path, times, skip, when))

    def unscript(self) -> None:
        """Let everything go right from now on."""
        self._rules.clear()

    def expire_urls(self) -> None:
        """Let every signed URL given so far be expired."""
        self.cdn.expire_all()

    def requests(self, server: str | None = None, file: str | None = None) -> list[LoggedRequest]:
        """Return the requests so far, to one server, about one file."""
        return [
            record
            for record in list(self.log)
            if server in (None, record.server) and file in (None, record.file)
        ]

    def sent_bytes(self, file: str | None = None) -> int:
        """Return the body bytes that left the CDN."""
        return sum(record.sent for record in self.requests("cdn", file))

    def bytes_sent_twice(self, file: str) -> int:
        """Return how many bytes of a file left the CDN more often than once."""
        return bytes_sent_twice(self.requests("cdn", file))

    def reset_log(self) -> None:
        """Forget the requests so far."""
        self.log.clear()

    def location(self, repo_id: str, entry: Entry) -> str:
        """Return the URL that a large file is redirected to; for the servers."""
        if self.elsewhere is not None:
            return self.elsewhere(repo_id, entry.path)
        return self.cdn.sign(repo_id, entry)

    def scripted(self, on: Where, record: LoggedRequest, reply: Reply) -> Reply:
        """Return what to send in place of `reply`; for the servers."""
        for rule in self._rules:
            if rule.fits(on, record):
                if rule.skip:
                    rule.skip -= 1
                    continue
                if rule.left is not None:
                    rule.left -= 1
                return rule.fault.apply(reply)
        return reply

    def record(self, server: str, request: web.Request) -> LoggedRequest:
        """Note a request; for the servers."""
        path, _, query = request.raw_path.partition("?")
        peer = (request.transport and request.transport.get_extra_info("peername")) or ("", 0)
        record = LoggedRequest(
            sequence=len(self.log),
            server=server,
            method=request.method,
            path=path,
            query=query,
            headers={name.lower(): value for name, value in request.headers.items()},
            asked=asked_span(request.headers.get("Range"), 0),
            peer=peer[1],
        )
        self.log.append(record)
        return record

    def about(self, record: LoggedRequest, repo_id: str, entry: Entry) -> None:
        """Note which file a request is about; for the servers."""
        record.repo, record.file = repo_id, entry.path
        record.asked = asked_span(record.headers.get("range"), entry.content.size)

    async def start(self) -> None:
        """Open both servers on free ports."""
        self._loop = asyncio.get_running_loop()
        self.cdn_url = await self._serve(self.cdn.app())
        self.endpoint = await self._serve(Routes(self).app())

    async def stop(self) -> None:
        """Close both servers and every connection."""
        while self._runners:
            runner = self._runners.pop()
            transports = transports_of(runner)
            await runner.cleanup()
            for transport in transports:
                transport.abort()  # TLS would wait for a client that has gone to sleep

    def drop_connections(self) -> None:
        """Cut every connection, as a network does that went away; from any thread."""
        for runner in self._runners:
            for transport in transports_of(runner):
                self._loop.call_soon_threadsafe(transport.abort)

    async def _serve(self, app: web.Application) -> str:
        runner = web.AppRunner(
            app, handler_cancellation=True, shutdown_timeout=0.05, access_log=None
        )
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, self.host, 0, ssl_context=self._ssl)
        await site.start()
        scheme = "http" if self._ssl is None else "https"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{runner.addresses[0][1]}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    @classmethod
    @contextlib.contextmanager
    def in_thread(
        cls,
        *,
        ssl_context: ssl.SSLContext | None = None,
        tokens: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> Iterator[Self]:
        """Run the servers in a thread with a loop of its own, for synchronous programs."""
        hub = cls(ssl_context=ssl_context, tokens=tokens, clock=clock)
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="FakeHub", daemon=True)
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(hub.start(), loop).result()
            yield hub
        finally:
            asyncio.run_coroutine_threadsafe(hub.stop(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
