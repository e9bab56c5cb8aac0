"""Time that stands still until a test moves it."""

from __future__ import annotations

__all__ = ["ManualClock"]


class ManualClock:
    """A wall clock and a monotonic clock, both moved by hand.

    Give its methods to whatever takes a clock: `FakeHub(clock=ManualClock().time)`.

    Args:
        time: What the wall clock shows at first, in seconds since 1970.
        monotonic: What the monotonic clock shows at first, in seconds.
    """

    def __init__(self, *, time: float = 1_700_000_000.0, monotonic: float = 0.0) -> None:
        self._time, self._monotonic = time, monotonic

    def time(self) -> float:
        """Return the wall clock, in seconds since 1970."""
        return self._time

    def monotonic(self) -> float:
        """Return the monotonic clock, in seconds."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both clocks forward.

        Raises:
            ValueError: `seconds` is negative; only `set_time` goes back.
        """
        if seconds < 0:
            raise ValueError("time does not go back")
        self._time += seconds
        self._monotonic += seconds

    def set_time(self, time: float) -> None:
        """Set the wall clock alone, as NTP or a user does."""
        self._time = time
