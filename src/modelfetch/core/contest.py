"""Which of several endpoints to take a file from, by how fast they have been.

The order of the endpoints is the user's, so the first keeps the file for as long as it is fast
enough. One that is not costs little to leave: the others are tried in turn, and the fastest keeps
it, unless it falls behind what another has shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["MEASURE_SECONDS", "Contest"]

# An endpoint shows in this time how fast it is: its connections have found their number.
MEASURE_SECONDS = 10.0
# By so much another must have been faster: no endpoint is equally fast at any two moments.
MARGIN = 1.25


@dataclass(slots=True)
class Contest:
    """The endpoints of one file.

    Attributes:
        contenders: The endpoints, in the user's order.
        enough: Bytes per second of a file at which none is left for being slow.
    """

    contenders: tuple[str, ...]
    enough: float
    _speeds: dict[str, float] = field(default_factory=dict)

    def failed(self, contender: str) -> None:
        """Record that nothing comes from there."""
        self._speeds[contender] = 0.0

    def measured(self, contender: str, speed: float) -> str:
        """Record bytes per second from there; return who is to be asked from now on."""
        self._speeds[contender] = speed
        if speed >= self.enough:
            return contender
        for other in self.contenders:
            if other not in self._speeds:
                return other
        best = max(self.contenders, key=lambda other: self._speeds[other])
        return best if self._speeds[best] > speed * MARGIN else contender
