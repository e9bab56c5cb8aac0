"""What of the machine this process may use: processors, and memory that is free.

For memory a few small files are read, and that never fails.

On Linux the smaller of two figures: what the kernel takes for available (`MemAvailable`), and what
the limits of the process's control groups leave, which is what counts in a container. Elsewhere the
free pages that the C library tells of. macOS and Windows tell nothing here: there the user says how
much a model may use.

Sources: proc(5) on `meminfo`, the kernel's `admin-guide/cgroup-v2.rst` and `cgroup-v1/memory.rst`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["free_memory", "processors"]

_ROOT = Path("/")
# Limit, usage, and how `memory.stat` calls the file pages that nobody used lately.
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def processors() -> int:
    """Return how many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory(root: Path = _ROOT) -> int | None:
    """Return the bytes that are free, `None` when the system does not tell; blocking.

    Args:
        root: Where `proc` and `sys` are.
    """
    available = _available(root / "proc/meminfo")
    if available is None:
        return _free_pages()
    return max(0, min((available, *_left_in_groups(root))))


def _available(meminfo: Path) -> int | None:
    fields = _fields(meminfo)
    kibibytes = fields.get("MemAvailable:")
    return None if kibibytes is None else kibibytes * 1024


def _left_in_groups(root: Path) -> Iterator[int]:
    """Yield what the limit of each control group above this process leaves.

    A limit at any level counts. In a container the own group's path may be the host's, which is not
    there; the container's group then is at the top.
    """
    mounts = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        top = mounts / "memory" if controllers else mounts
        group = top.joinpath(*(part for part in path.split("/") if part not in ("", "..")))
        for folder in (group, *group.parents):
            yield from _left(folder, *(_V1 if controllers else _V2))
            if folder == top:
                break


def _left(folder: Path, limit: str, usage: str, inactive: str) -> Iterator[int]:
    most, used = _number(_text(folder / limit)), _number(_text(folder / usage))
    if most is not None and used is not None:  # without a limit it says `max`
        # The page cache counts as used until somebody needs it, and a download fills it: of the
        # total, what the kernel gives back first is taken off, as the kubelet's working set does.
        idle = _fields(folder / "memory.stat").get(inactive, 0)
        yield most - max(0, used - idle)


def _fields(path: Path) -> dict[str, int]:
    """Return the lines `name number [unit]` of a file."""
    found = {}
    for line in _text(path).splitlines():
        words = line.split()
        number = _number(words[1]) if len(words) > 1 else None
        if number is not None:
            found[words[0]] = number
    return found


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _free_pages() -> int | None:
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    return free if free > 0 else None
