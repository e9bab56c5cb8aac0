"""Speed: how fast it goes, when it will end, and how to go no faster than allowed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

__all__ = ["SpeedWindow", "TokenBucket", "seconds_left"]


@dataclass(slots=True)
class SpeedWindow:
    """Mean speed over a sliding window; it decays to zero when nothing arrives.

    Attributes:
        seconds: Length of the window.
    """

    seconds: float = 5.0
    _samples: deque[tuple[float, int]] = field(default_factory=deque)
    _total: int = 0
    _since: float | None = None

    def add(self, nbytes: int, now: float) -> None:
        """Record that `nbytes` arrived since the last call."""
        if self._since is None:
            self._since = now
        self._samples.append((now, nbytes))
        self._total += nbytes
        self._expire(now)

    def speed(self, now: float) -> float:
        """Return bytes per second at `now`; 0 before anything was recorded."""
        self._expire(now)
        if self._since is None or self._total == 0:
            return 0.0
        # A young window is divided by its age, or the first seconds would read too slow;
        # by no less than half a second, or the first arrival would read absurdly fast.
        age = min(self.seconds, max(now - self._since, 0.5))
        return self._total / age

    def _expire(self, now: float) -> None:
        while self._samples and self._samples[0][0] <= now - self.seconds:
            self._total -= self._samples.popleft()[1]


def seconds_left(remaining_bytes: int, speed: float) -> float | None:
    """Return the seconds until `remaining_bytes` have come; `None` when nothing comes."""
    return remaining_bytes / speed if speed > 0 else None


@dataclass(slots=True)
class TokenBucket:
    """Permission to take bytes at a bounded rate.

    Debt is allowed: a taker is told how long to wait *after* taking, so sizes need not be known
    before and no taker starves behind smaller ones.

    Attributes:
        rate: Bytes per second; `None` for no bound. May be changed at any time.
        burst_seconds: Unused allowance is kept for that long and no longer.
    """

    rate: float | None = None
    burst_seconds: float = 0.1
    _allowance: float = 0.0
    _last: float | None = None

    def take(self, nbytes: int, now: float) -> float:
        """Take `nbytes`; return the seconds to wait before taking more."""
        rate = self.rate  # once: another thread may change it
        if rate is None:
            return 0.0
        if self._last is not None:
            earned = (now - self._last) * rate
            self._allowance = min(self._allowance + earned, self.burst_seconds * rate)
        self._last = now
        self._allowance -= nbytes
        return max(0.0, -self._allowance / rate)
