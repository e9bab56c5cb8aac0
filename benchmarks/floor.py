"""The least that a verified download costs with aiohttp: with it the engine is compared.

    python -m benchmarks.floor URL PATH SIZE CONNECTIONS

No Hub, no plan, no checks of answers, no journal, no retry, no search for a number of connections:
ranges of 32 MiB, positioned writes of 1 MiB into reserved space, a hash behind the front, a flush a
second. Prints `{"seconds", "cpu"}`, and the hash.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import aiohttp

MiB = 1 << 20
_RANGE = 32 * MiB


class _Target:
    """A file that is written at offsets, hashed behind the front and flushed meanwhile."""

    def __init__(self, path: str, size: int) -> None:
        self._size, self._written = size, dict[int, int]()
        self._changed = threading.Condition()
        self._is_over = threading.Event()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT)
        os.posix_fallocate(self._fd, 0, size)

    def write(self, parts: list[bytes], offset: int) -> None:
        os.pwritev(self._fd, parts, offset)
        with self._changed:
            self._written[offset] = sum(map(len, parts))
            self._changed.notify()

    def hash(self) -> str:
        hasher, offset = hashlib.sha256(), 0
        buffer = memoryview(bytearray(MiB))
        while offset < self._size:
            with self._changed:
                while offset not in self._written:
                    self._changed.wait()
                end = offset + self._written.pop(offset)
            while offset < end:
                count = os.preadv(self._fd, [buffer[: end - offset]], offset)
                hasher.update(buffer[:count])
                offset += count
        return hasher.hexdigest()

    def flush_until_over(self) -> None:
        while not self._is_over.wait(1.0):
            os.fdatasync(self._fd)

    def finish(self) -> None:
        self._is_over.set()
        os.fsync(self._fd)


async def _fetch(url: str, target: _Target, size: int, connections: int) -> str:
    loop, pool = asyncio.get_running_loop(), ThreadPoolExecutor(connections + 2)
    hashing = loop.run_in_executor(pool, target.hash)
    loop.run_in_executor(pool, target.flush_until_over)
    spans = iter([(at, min(size, at + _RANGE)) for at in range(0, size, _RANGE)])
    tls: ssl.SSLContext | bool = ssl.create_default_context() if url.startswith("https") else True
    connector = aiohttp.TCPConnector(limit=0, ssl=tls)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        async def work(spans: Iterator[tuple[int, int]]) -> None:
            for start, stop in spans:
                fields = {"Range": f"bytes={start}-{stop - 1}"}
                async with session.get(url, headers=fields) as response:
                    parts, held, offset = list[bytes](), 0, start
                    while chunk := await response.content.readany():
                        parts.append(chunk)
                        held += len(chunk)
                        if held >= MiB:
                            await loop.run_in_executor(pool, target.write, parts, offset)
                            parts, held, offset = [], 0, offset + held
                    if parts:
                        await loop.run_in_executor(pool, target.write, parts, offset)

        await asyncio.gather(*(work(spans) for _ in range(connections)))
    digest = await hashing
    await loop.run_in_executor(pool, target.finish)
    return digest


def main() -> None:
    url, path, size, connections = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    began, used = time.perf_counter(), time.process_time()
    digest = asyncio.run(_fetch(url, _Target(path, size), size, connections))
    taken = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - used}
    print(json.dumps({**taken, "sha256": digest}))


if __name__ == "__main__":
    main()
