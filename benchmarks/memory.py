"""Memory that costs every run the same.

Some hosts take back the memory that a virtual machine has free ("free page reporting"). A page that
was taken back costs whoever touches it next many times what another one costs: writing 2 GiB into
the page cache took 0.4 s or 4.7 s here, by nothing but what had run before. So before each run the
free memory is filled with page cache that nobody needs, as on a machine that has been up for a day:
new pages are then reclaimed ones, which are there. About a gigabyte stays free however much is read
(the kernel reclaims in large steps), and of that the host takes its part until the run needs it; so
most of it is held meanwhile. What is served would go with the rest, and the server read it from the
disk in the run: it is put back, twice, so that the kernel prefers to drop what was read once.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from modelfetch.memory import free_memory

__all__ = ["is_lent", "settled"]

_REPORTING = Path("/sys/module/page_reporting")
_ABOUT = Path("/proc/meminfo")
_KEPT = 1 << 30  # the kernel begins to reclaim above this on machines of up to 32 GiB
_STRIDE = 64 << 20
_SMALL = 256 << 20
_HOLE = 1 << 42
# More must stay free than the kernel wants to have at hand, and much that can be dropped beside it:
# what is held cannot.
_LEFT, _DROPPABLE = 256 << 20, 2 << 30


def is_lent() -> bool:
    """Return whether the host takes back what is free."""
    return _REPORTING.exists()


@contextlib.contextmanager
def settled(folder: Path, size: int, served: Collection[Path] = ()) -> Iterator[None]:
    """Have next to no free memory inside the `with`, but much that can be dropped at once.

    What was written before, the served file too, is on the disk by then.

    Args:
        folder: Where a file without any block may be, on a file system that has such. It stays
            there: its removal would free the memory again.
        size: Bytes that the run will bring. Of few, the memory is not what decides.
        served: Files that are to be in memory all the same.
    """
    os.sync()
    if size < _SMALL or not is_lent():
        yield
        return
    _fill(folder / "nothing")
    for path in (*served, *served):
        _read(path)
    with contextlib.ExitStack() as held:
        _hold(held)
        yield


def _fill(path: Path) -> None:
    """Fill the free memory, all but about a gigabyte, with what can be dropped at once."""
    buffer = bytearray(1 << 20)
    with path.open("a+b") as file:
        file.truncate(_HOLE)
        # Where nothing has been read before: what is in the cache already fills nothing.
        position = random.randrange(0, _HOLE // 2, _STRIDE)
        end = position + _about("MemTotal")
        while position < end and _about("MemFree") > _KEPT + _STRIDE:
            for _ in range(_STRIDE // len(buffer)):
                position += os.preadv(file.fileno(), [buffer], position)


def _read(path: Path) -> None:
    buffer = bytearray(1 << 20)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def _hold(held: contextlib.ExitStack) -> None:
    """Hold what is free of the memory: the host may have taken it, or is about to."""
    zeros, flags = bytes(_STRIDE), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    while _about("MemFree") > _LEFT + _STRIDE and (free_memory() or 0) > _DROPPABLE:
        memory = held.enter_context(contextlib.closing(mmap.mmap(-1, _STRIDE, flags)))
        memory[:] = zeros


def _about(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", _ABOUT.read_text())
    return int(found[1]) << 10 if found else 0
