"""A new version of a file from the one that is here: fetch its head, copy the tensors that agree.

    old head known -> fetch the new one -> fetch samples, compare -> copy the rest -> hash of it all

Nothing is trusted before that hash. What was copied has no record in the journal, so a process that
was killed over it leaves no claim behind; when the hash is wrong all of it is fetched.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from modelfetch.core.reuse import Copy, copies, samples
from modelfetch.core.tensors import Header
from modelfetch.core.transfer import Transfer
from modelfetch.shared import Bell, FileProgress, Shared
from modelfetch.storage.heads import Earlier
from modelfetch.storage.partial import PartialFile
from modelfetch.types import Span

__all__ = ["Reuse"]

# Below this a copy saves less than its samples and round trips cost.
MIN_BYTES = 1 << 20
# Fetched beyond where the earlier head ended: most changes are within it.
SLACK = 64 << 10
# At most this much is copied in one call of a thread, so that cancelling stays quick.
STRIDE = 32 << 20


class Reuse:
    """The use of an earlier version for one file.

    Args:
        shared: The engine's resources.
        find: Looks for that version; blocking.
        progress: What the job sees.

    Attributes:
        targets: What was, or was about to be, copied.
    """

    def __init__(
        self, shared: Shared, find: Callable[[], Earlier | None], progress: FileProgress
    ) -> None:
        self._shared, self._find, self._progress = shared, find, progress
        self._earlier: Earlier | None = None
        self._is_over = False
        self._asked = 0
        self.targets: list[Span] = []

    async def begin(self, transfer: Transfer) -> None:
        """Look for an earlier version; if there is one, let only the head be fetched for now."""
        if not self._is_over and transfer.size_bytes - transfer.done.size >= MIN_BYTES:
            self._earlier = self._earlier or await self._shared.offload(self._find)
        if self._earlier is not None:
            self._asked = 0
            self.ask_for(transfer, self._earlier.header.data_start)

    def ask_for(self, transfer: Transfer, stop: int) -> bool:
        """Let the head be fetched to `stop` and a little more; return whether that is news."""
        if self._earlier is None or stop <= self._asked:
            return False
        self._asked = min(transfer.size_bytes, stop + SLACK)
        transfer.confine(Span(0, self._asked))
        return True

    def give_up(self) -> list[Span]:
        """Use it no more; return what was copied."""
        targets, self.targets = self.targets, []
        self._earlier, self._is_over, self._progress.reused = None, True, 0
        return targets

    async def fill(
        self, header: Header, partial: PartialFile, transfer: Transfer, bell: Bell
    ) -> None:
        """Copy what agrees, while all else is being fetched.

        Args:
            header: The new head.
            partial: The file to fill.
            transfer: Its state.
            bell: Rung after each change of that.

        Raises:
            StorageError: The earlier file cannot be read, or the new one not be written.
        """
        earlier, offload = self._earlier, self._shared.offload
        if earlier is None:
            return
        found = await offload(
            copies, earlier.header, earlier.size_bytes, header, transfer.size_bytes
        )
        if sum(copy.target.size for copy in found) < MIN_BYTES:
            return
        probes = samples(found)
        transfer.confine(*(probe.target for probe in probes))
        bell.ring()
        while not all(transfer.done.covers(probe.target) for probe in probes):
            await bell.wait()
        if transfer.is_streaming or not await offload(_agree, earlier.path, partial, probes):
            return
        self.targets = [copy.target for copy in found]
        for target in self.targets:
            transfer.promise(target)
        transfer.confine()
        bell.ring()
        for copy in found:
            await self._copy(copy, earlier.path, partial, transfer, bell)

    async def _copy(
        self, copy: Copy, path: Path, partial: PartialFile, transfer: Transfer, bell: Bell
    ) -> None:
        for start in range(copy.target.start, copy.target.stop, STRIDE):
            stride = Span(start, min(start + STRIDE, copy.target.stop))
            for gap in transfer.reserve(stride):
                await self._shared.offload(partial.copy_from, path, copy.part(gap).source, gap)
                self._progress.reused += transfer.filled(gap)
            self._progress.landed = max(self._progress.landed, transfer.done.size)
            bell.ring()


def _agree(path: Path, partial: PartialFile, probes: list[Copy]) -> bool:
    try:
        with path.open("rb") as stream:
            for probe in probes:
                stream.seek(probe.source)
                if stream.read(probe.target.size) != partial.read(probe.target):
                    return False
    except OSError:
        return False
    return True
