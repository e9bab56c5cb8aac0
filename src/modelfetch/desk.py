"""What an engine gives to each of its jobs."""

from __future__ import annotations

from dataclasses import dataclass

from modelfetch.scribe import Scribe
from modelfetch.transfers import Transfers
from modelfetch.turns import Turns

__all__ = ["Desk"]


@dataclass(frozen=True)
class Desk:
    """The way from a job to what is not its own.

    Attributes:
        scribe: Writes jobs down.
        turns: How many jobs run at once.
        transfers: Carries jobs out.
    """

    scribe: Scribe
    turns: Turns
    transfers: Transfers
