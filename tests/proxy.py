"""A proxy for tests: CONNECT, and plain requests in absolute form, on a real socket."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

__all__ = ["Proxy", "running"]


@dataclass
class Proxy:
    """What it does, and what it was asked.

    Attributes:
        hosts: Where `host:port` really is; others are refused.
        login: `user:password` that it wants, `None` for none.
        status: What it says to everything, `None` to do its work.
        url: Where it listens.
        asked: The first line of each request.
        heads: The whole head of each request.
    """

    hosts: Mapping[str, str]
    login: str | None = None
    status: int | None = None
    url: str = ""
    asked: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line = head.partition("\r\n")[0]
            self.asked.append(line)
            self.heads.append(head)
            refusal = self._refusal(head, line)
            if refusal is not None:
                writer.write(f"HTTP/1.1 {refusal} No\r\nContent-Length: 0\r\n\r\n".encode())
                return
            method, target, _ = line.split(" ")
            if method == "CONNECT":
                up_reader, up_writer = await self._connected(target)
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                parts = urlsplit(target)
                up_reader, up_writer = await self._connected(parts.netloc)
                asked = f"{parts.path}?{parts.query}" if parts.query else parts.path
                passed = head.replace(target, asked, 1).replace("\r\n\r\n", "\r\n")
                # One request a connection, so that nothing has to be parsed but its head.
                kept = [it for it in passed.split("\r\n") if not it.lower().startswith("connect")]
                up_writer.write("\r\n".join([*kept[:-1], "Connection: close", "", ""]).encode())
            try:
                await asyncio.gather(_pump(reader, up_writer), _pump(up_reader, writer))
            finally:
                up_writer.close()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _refusal(self, head: str, line: str) -> int | None:
        if self.status is not None:
            return self.status
        if self.login is not None:
            wanted = base64.b64encode(self.login.encode()).decode()
            if f"proxy-authorization: basic {wanted}".lower() not in head.lower():
                return 407
        target = line.split(" ")[1]
        host = urlsplit(target).netloc if "://" in target else target
        return None if host in self.hosts else 502

    async def _connected(self, host: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self.hosts[host])
        return await asyncio.open_connection(parts.hostname, parts.port)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def running(proxy: Proxy) -> AsyncIterator[Proxy]:
    """Let a proxy listen."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(asyncio.CancelledError):  # 3.11 would log it
                await proxy.serve(reader, writer)
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
