"""What a line does to the bytes on it: the arithmetic of the proxy, without sockets or clock."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

BURST_SECONDS = 0.05  # what a sender that was late may catch up on
# What Linux lets a receiver have under way by default (the last number of net.ipv4.tcp_rmem).
LARGEST_WINDOW = 6 << 20


@dataclass(frozen=True)
class Shape:
    """A line.

    Attributes:
        delay: Seconds that each byte takes, in each direction.
        rate: Bytes per second of a connection, `None` for no bound.
        total: Bytes per second of all responses together, in equal shares; `None` for no bound.
        most: Responses at once beyond which `total` is multiplied by `penalty`.
        penalty: See `most`.
        slow_every: Of so many connections that are accepted one after the other, the last but one
            is slow; 0 for none. A program that opens one connection never meets it.
        slow_rate: Bytes per second of a slow one.
    """

    delay: float = 0.0
    rate: float | None = None
    total: float | None = None
    most: int | None = None
    penalty: float = 1.0
    slow_every: int = 0
    slow_rate: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def is_slow(self, number: int) -> bool:
        """Whether the connection that was accepted as number `number`, from 0, is a slow one."""
        return self.slow_every > 0 and number % self.slow_every == self.slow_every - 2

    def rate_of(self, number: int, busy: int) -> float | None:
        """Return the bytes per second of a connection; `None` for no bound.

        Args:
            number: How many were accepted before it.
            busy: Connections that have something to send now.
        """
        own = self.slow_rate if self.is_slow(number) else self.rate
        if self.total is None:
            return own
        slowed = self.most is not None and busy > self.most
        share = self.total * (self.penalty if slowed else 1.0) / max(1, busy)
        return share if own is None else min(own, share)

    @property
    def window(self) -> int:
        """Bytes of one connection that may be under way: in the delay, or waiting for their turn.

        A receiver's window is spent once in each round trip, of which the way back is half.
        """
        return LARGEST_WINDOW // 2 if self.delay else LARGEST_WINDOW // 24


class Bucket:
    """Says how many bytes of one connection may leave now.

    Args:
        now: Seconds on any clock.
    """

    def __init__(self, now: float) -> None:
        self._bytes, self._at = 0.0, now

    def allowed(self, now: float, rate: float) -> int:
        """Return the bytes that may leave, at `rate` since the last call."""
        earned = self._bytes + (now - self._at) * rate
        self._bytes, self._at = min(earned, BURST_SECONDS * rate), now
        return max(0, int(self._bytes))

    def spend(self, count: int) -> None:
        """Take `count` bytes out."""
        self._bytes -= count
