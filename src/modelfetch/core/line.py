"""Who is next: the order of jobs that wait for their turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Rank", "moved"]


class Rank(NamedTuple):
    """Where a job stands in line; it sorts as the jobs run.

    Attributes:
        urgency: The negated priority.
        place: Smaller is earlier among those of one priority.
        name: Makes the order total.
    """

    urgency: int
    place: int
    name: str


def moved(line: Sequence[Rank], name: str, position: int) -> list[Rank]:
    """Return the line with `name` at `position`, in its new order.

    Whoever is moved among others takes on the priority that stands there; the places that there are
    are dealt out anew, so that nobody outside of the line is overtaken.

    Args:
        line: The ranks of all who wait, in any order.
        name: Who moves; one of them.
        position: 0 for next; too large for last.

    Raises:
        ValueError: `position` is below zero.
    """
    if position < 0:
        raise ValueError(f"{position} is no position; 0 is for next")
    others = sorted(rank for rank in line if rank.name != name)
    mover = next(rank for rank in line if rank.name == name)
    if others:
        # Between two priorities it takes the one behind, so that nobody's choice is outdone.
        neighbour = others[min(position, len(others) - 1)]
        mover = mover._replace(urgency=neighbour.urgency)
    others.insert(position, mover)
    placed: list[Rank] = []
    for rank, place in zip(others, sorted(rank.place for rank in line), strict=True):
        after_last = placed[-1].place + 1 if placed else place
        placed.append(rank._replace(place=max(place, after_last)))
    return placed
