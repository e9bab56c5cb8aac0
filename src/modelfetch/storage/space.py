"""Room on a disk, promised to one download at a time.

A download that has begun will need more bytes than it has taken so far. The ledger keeps, for each,
how to ask the disk what is still missing: so nothing needs to be counted down, and what is reserved
by allocation, or fetched by somebody else, is not counted twice.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from modelfetch.errors import InsufficientSpace
from modelfetch.storage import disk
from modelfetch.storage.faults import storage_errors

__all__ = ["Needs", "Reservation", "check_room"]

# For each file that is to be, the bytes that it will take beyond those it has.
Needs = Callable[[], Mapping[Path, int]]

_ledger: list[Reservation] = []
_changing = threading.Lock()


class Reservation:
    """Room for one download, from `take` until `release`.

    Args:
        folder: Where the files will be.
        needs: Tells at any time what is missing.
    """

    def __init__(self, folder: Path, needs: Needs) -> None:
        self.folder, self.needs = folder, needs

    def take(self) -> None:
        """Keep the room from all who ask later.

        Raises:
            InsufficientSpace: There is not enough, seen what others were promised.
            StorageError: The disk cannot be asked.
        """
        with _changing:
            _check(self.folder, self.needs)
            _ledger.append(self)

    def release(self) -> None:
        """Give it back; does not block. Harmless when not taken."""
        with contextlib.suppress(ValueError):
            _ledger.remove(self)


def check_room(folder: Path, needs: Needs) -> None:
    """See that there is room, without taking it.

    Raises:
        InsufficientSpace: There is not enough, seen what others were promised.
        StorageError: The disk cannot be asked.
    """
    with _changing:
        _check(folder, needs)


def _check(folder: Path, needs: Needs) -> None:
    with storage_errors(folder):
        # Asked first: what is allocated a moment later is then missed in neither sum.
        free = disk.free_bytes(folder)
        if free is None:
            return
        device = disk.device(folder)
        promised: dict[Path, int] = {}
        for other in tuple(_ledger):
            if disk.device(other.folder) == device:
                promised.update(other.needs())
        own = needs()
    needed = sum(own.values())
    left = max(0, free - sum(size for path, size in promised.items() if path not in own))
    if needed > left:
        others = f", {free - left:,} of them promised to other downloads" if left < free else ""
        error = InsufficientSpace(
            f"The model needs {needed:,} bytes more, and {folder} has {free:,} free{others}.",
            hint="Free some space, choose another cache folder, or a smaller quantization.",
            path=str(folder),
        )
        error.needed_bytes, error.free_bytes = needed, left
        raise error
