"""A FakeHub in a process of its own: `python -m benchmarks.hub`.

Reads one line of JSON from stdin: `repo`, `files`, a list of `[path, size, sha256, url]`, and
`sends`: whether its own CDN sends the files, `url` is then a path on this disk; if not, everybody
is sent to that URL. Prints its endpoint. Each later line is a command: `forget N` begins to count
anew, in round N; `count` prints requests to the CDN and body bytes that it sent; `fail` and `work`
turn the faults on and off.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from benchmarks.mishaps import Mishaps
from modelfetch.testing import Content, FakeHub, FileContent, PositionCoded


def files_of(listed: list[list[str | int]], *, sends: bool) -> dict[str, Content]:
    """Return what the Hub has; hashes are known, so nothing is read for them."""
    files: dict[str, Content] = {}
    for path, size, sha256, url in listed:
        if sends:
            content = FileContent(Path(str(url)))
            content.__dict__["sha256"] = sha256
            files[str(path)] = content
        else:
            files[str(path)] = PositionCoded(int(size), 1, sha256=str(sha256))
    return files


async def serve() -> None:
    given = json.loads(sys.stdin.readline())
    loop, mishaps = asyncio.get_running_loop(), Mishaps()
    urls = {path: url for path, _, _, url in given["files"]}
    async with FakeHub() as hub:
        # Not every peer keeps the escapes of a signed URL; what that costs is in docs/faults.md.
        hub.has_escapes = False
        if not given["sends"]:
            hub.elsewhere = lambda _, path: str(urls[path])
        hub.add(given["repo"], files_of(given["files"], sends=given["sends"]))
        print(hub.endpoint, flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            command, *words = line.split()
            if command == "forget":
                hub.reset_log()
                mishaps.begin(int(words[0]))
            elif command == "count":
                print(len(hub.requests("cdn")), hub.sent_bytes(), flush=True)
            elif command == "fail":
                hub.script(mishaps, on="cdn", times=None, when=lambda it: it.method == "GET")
            else:
                hub.unscript()


if __name__ == "__main__":
    asyncio.run(serve())
