"""One file's head, read as it arrives, and what follows from it.

The lowest leases go out first, so the head is among the first bytes that land; a file that nothing
could load is given up before most of it was fetched. The bytes are not verified by then. So a
first bad verdict is only a `Doubt`: the head is fetched once more, and the second verdict counts.
"""

from __future__ import annotations

import sys

from modelfetch.core.gguf import HeaderReader
from modelfetch.core.inspection import Problem, Subject, verdict
from modelfetch.core.transfer import Transfer
from modelfetch.errors import InsufficientSpace, StorageError, UnusableModel
from modelfetch.reuse import Reuse
from modelfetch.shared import Bell, FileProgress, Shared
from modelfetch.storage.partial import PartialFile
from modelfetch.types import Span

__all__ = ["Doubt", "Inspector"]

# At most this much is read and looked at in one call of a thread.
STRIDE = 1 << 20


class Doubt(Exception):
    """Something about the bytes so far is wrong; `Inspector.suspects` says which to fetch again."""


class Inspector:
    """Looks at one file.

    Args:
        shared: The engine's resources.
        subject: What to look at; `None` for a file whose head is of no interest.
        progress: Gets the head.
        reuse: Fills the file from an earlier version of it.
        check: Whether a bad verdict ends the transfer.
    """

    def __init__(
        self,
        shared: Shared,
        subject: Subject | None,
        progress: FileProgress,
        reuse: Reuse,
        *,
        check: bool,
    ) -> None:
        self._shared, self._subject = shared, subject
        self._progress, self._reuse, self._check = progress, reuse, check
        self._suspects: list[Span] = []
        self._has_doubted = False

    async def begin(self, transfer: Transfer) -> None:
        """Prepare; to be called before `transfer` gives out leases."""
        if self._subject is not None:
            await self._reuse.begin(transfer)

    async def run(self, partial: PartialFile, transfer: Transfer, bell: Bell) -> None:
        """Read the head while it arrives, and do what follows from it.

        Raises:
            Doubt: It looks bad; it is to be fetched again.
            UnusableModel: It is bad, fetched twice.
            InsufficientSpace: The disk is full.
        """
        try:
            if self._subject is not None:
                await self._look(self._subject, partial, transfer, bell)
        finally:
            transfer.confine()
            bell.ring()

    async def _look(
        self, subject: Subject, partial: PartialFile, transfer: Transfer, bell: Bell
    ) -> None:
        reader = HeaderReader(subject.size_bytes)
        while not reader.is_done:
            front = transfer.done.frontier
            if front >= reader.needed:
                span = Span(reader.fed, min(front, reader.fed + STRIDE))
                await self._shared.offload(_feed, reader, partial, span)
            elif front == transfer.size_bytes:
                return  # a byte part that ends before the head of the whole does
            else:
                if self._reuse.ask_for(transfer, reader.needed):
                    bell.ring()
                await bell.wait()
        self._progress.header = reader.header
        problem = verdict(subject, reader, big_endian=sys.byteorder == "big")
        if problem is not None and self._check:
            self._object(problem, Span(0, min(reader.fed, transfer.size_bytes)))
        if reader.header is not None:
            try:
                await self._reuse.fill(reader.header, partial, transfer, bell)
            except InsufficientSpace:
                raise
            except StorageError:
                raise Doubt from None  # of the earlier file: it is of no use, the next is fetched

    def suspects(self) -> list[Span]:
        """Return the bytes to fetch again, if any; each is suspected only once."""
        suspects, self._suspects = self._suspects, []
        return suspects or self._reuse.give_up()

    def _object(self, problem: Problem, seen: Span) -> None:
        if not self._has_doubted:
            self._has_doubted, self._suspects = True, [seen]
            raise Doubt
        error = UnusableModel(
            problem.message,
            hint="Ask the publisher, or choose another quantization. "
            "MODELFETCH_CHECK_GGUF=0 (check_gguf=False) fetches it as it is.",
            path=self._subject.path if self._subject else None,
        )
        error.code = problem.code
        raise error


def _feed(reader: HeaderReader, partial: PartialFile, span: Span) -> None:
    reader.feed(partial.read(span))
