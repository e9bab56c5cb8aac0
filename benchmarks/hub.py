"""A FakeHub that sends everybody to another server for the bytes: `python -m benchmarks.hub REPO`.

Reads one line of JSON, a list of `[path, size, sha256, url]`, from stdin; prints its endpoint.
"""

from __future__ import annotations

import asyncio
import json
import sys

from modelfetch.testing import FakeHub, PositionCoded


async def serve(repo: str) -> None:
    listed = json.loads(sys.stdin.readline())
    urls = {path: url for path, _, _, url in listed}
    async with FakeHub() as hub:
        hub.elsewhere = lambda _, path: str(urls[path])
        hub.add(repo, {path: PositionCoded(size, 1, sha256=sha) for path, size, sha, _ in listed})
        print(hub.endpoint, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
