"""What a transfer holds in memory: connections times a few buffers, however large the file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.authority import server_context
from tests.helpers import FILE, REPO, MiB, coded

from modelfetch.testing import BytesContent, FakeHub

SIZE = 128 * MiB
CONNECTIONS = 16
MOST = 64 * 10**6

_CODE = """
import asyncio, re, sys, time
import modelfetch.engine
from huggingface_hub import HfApi
from modelfetch import Engine
from modelfetch.storage import disk
endpoint, repo, folder, connections = sys.argv[1:]
write_at = disk.write_at

def slowly(*args):
    time.sleep(0.05)  # so that all that may be held is held
    write_at(*args)

disk.write_at = slowly

def held(name):
    with open("/proc/self/status") as status:
        return 1024 * int(re.search(name + r":\\s+(\\d+) kB", status.read())[1])

async def main():
    async with Engine(endpoint=endpoint, cache_dir=folder, state_dir=folder + "/state", token=False,
                      connections=int(connections), adaptive=False, durable=False,
                      isolation="thread") as engine:
        await engine.plan(repo)
        with open("/proc/self/clear_refs", "w") as refs:
            refs.write("5")  # the high-water mark begins anew
        before = held("VmRSS")
        await (await engine.download(repo)).result()
        print(held("VmHWM") - before)

asyncio.run(main())
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="asks Linux")
def test_16_connections_to_a_slow_disk_hold_less_than_64_mb(tmp_path: Path) -> None:
    with FakeHub.in_thread(ssl_context=server_context()) as hub:
        hub.add(REPO, {FILE: BytesContent(coded(SIZE).read(0, SIZE))})
        done = subprocess.run(
            [sys.executable, "-c", _CODE, hub.endpoint, REPO, str(tmp_path), str(CONNECTIONS)],
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
    held = int(done.stdout)
    print(f"\nheld: {held / 1e6:.1f} MB")
    assert held <= MOST
