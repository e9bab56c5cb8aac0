"""What of an earlier version of a GGUF file is likely to be in the next one, and where.

Publishers put up a whole file again for a longer chat template: another head, behind it the same
tensors at other offsets. Tensors of the same name, type and shape are taken to be the same, which
nothing but the hash of the whole can prove. A few samples, fetched and compared first, tell of the
other common case, a model quantized anew, in which no tensor is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from modelfetch.core.pieces import SpanSet
from modelfetch.core.tensors import Header
from modelfetch.types import Span

__all__ = ["Copy", "copies", "samples"]

SAMPLES = 8
SAMPLE_SIZE = 16 << 10


class Copy(NamedTuple):
    """Bytes of the earlier file, and where they go.

    Attributes:
        source: Offset in the earlier file.
        target: Where they go in the next.
    """

    source: int
    target: Span

    def part(self, span: Span) -> Copy:
        """Return the part of it that goes to `span`."""
        return Copy(self.source + span.start - self.target.start, span)


def copies(old: Header, old_size: int, new: Header, new_size: int) -> list[Copy]:
    """Return what to copy, in ascending order of targets, which do not overlap.

    Args:
        old: Head of the earlier file.
        old_size: Its size.
        new: Head of the next one.
        new_size: Its size.
    """
    twins = {tensor.name: tensor for tensor in old.tensors}
    found: list[Copy] = []
    stop = new.data_start
    for tensor in sorted(new.tensors, key=lambda tensor: tensor.offset):
        twin, size = twins.get(tensor.name), tensor.size_bytes
        if twin is None or size is None or twin[1:3] != tensor[1:3]:
            continue
        source, start = old.data_start + twin.offset, new.data_start + tensor.offset
        # The padding behind it is zeros in both, as far as both have it.
        size += min(-size % old.alignment, -size % new.alignment)
        size = min(size, old_size - source, new_size - start)
        if size <= 0 or start < stop:
            continue
        stop = start + size
        last = found[-1] if found else None
        if last and (last.source + last.target.size, last.target.stop) == (source, start):
            found[-1] = Copy(last.source, Span(last.target.start, stop))
        else:
            found.append(Copy(source, Span(start, stop)))
    return found


def samples(found: Sequence[Copy]) -> list[Copy]:
    """Return a few small parts of `found`, spread evenly over its bytes."""
    total = sum(copy.target.size for copy in found)
    wanted = [total * (2 * n + 1) // (2 * SAMPLES) for n in range(SAMPLES)]
    chosen, taken, before = list[Copy](), SpanSet(), 0
    for copy in found:
        target = copy.target
        for at in wanted:
            if before <= at < before + target.size:
                start = target.start + at - before
                span = Span(start, min(target.stop, start + SAMPLE_SIZE))
                if taken.add(span) == span.size:
                    chosen.append(copy.part(span))
        before += target.size
    return chosen
