"""What this machine can prove about others: which process is gone, which disk it has for itself."""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["is_gone", "is_network", "writer_id"]

_MOUNTS = Path("/proc/self/mountinfo")
_PID_SPACE = Path("/proc/self/ns/pid")
_WRITER = re.compile(r"([1-9][0-9]{0,8})@(.+)")
# Their locks may hold among the processes of one machine only (`nolock`, `localflock`, FUSE).
_SHARED = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "nfs", "nfs4"}
    | {"ocfs2", "smb3", "smbfs", "virtiofs"}
)


def writer_id() -> str | None:
    """Return a name of this process, good until the next boot; `None` where there is none.

    A process id alone names others in other containers.
    """
    try:
        return f"{os.getpid()}@{_PID_SPACE.readlink()}"
    except (OSError, NotImplementedError):
        return None


def is_gone(writer: str | None) -> bool:
    """Return whether a process named by `writer_id`, in this boot, has surely ended."""
    named = _WRITER.fullmatch(writer or "")
    here = _WRITER.fullmatch(writer_id() or "")
    if named is None or here is None or named[2] != here[2]:
        return False
    try:
        os.kill(int(named[1]), 0)  # asks only; the name is Linux's, where this is so
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def is_network(device: int) -> bool:
    """Return whether other machines may use a disk too.

    Args:
        device: Its `st_dev`.
    """
    # proc(5): mount id, parent id, major:minor, ..., "-", type of file system, ...
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
        name = f"{os.major(device)}:{os.minor(device)}"
    except (OSError, AttributeError):
        return False
    for line in lines:
        fields, _, about = line.partition(" - ")
        if fields.split()[2:3] == [name]:
            kind = about.split(maxsplit=1)[0]
            return kind in _SHARED or kind.startswith("fuse.")
    return False
