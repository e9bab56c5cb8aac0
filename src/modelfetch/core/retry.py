"""When to try again, and when to stop. It decides; somebody else sleeps.

The budget counts attempts that brought *nothing to the file*: as long as any connection of a file
brings bytes, trying goes on, however many single attempts fail. Delays use full jitter (a random
share of an exponential cap), which spreads a crowd of clients better than any fixed schedule:
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

__all__ = ["Budget", "RetryPolicy", "retry_after"]

# A host that asks for more than this is not waited for in silence; the cap makes us ask again.
MAX_RETRY_AFTER = 900.0
_RESET = re.compile(r";\s*t=([0-9]{1,9})")
_REMAINING = re.compile(r";\s*r=([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How patient to be.

    Attributes:
        attempts: Fruitless attempts in a row before a file is given up; what its connections try at
            once is one. With the delays below, 30 bridge an outage of about five minutes.
        base_seconds: Cap of the first delay; it doubles with each fruitless attempt.
        max_seconds: Largest cap.
    """

    attempts: int = 30
    base_seconds: float = 0.25
    max_seconds: float = 30.0

    def delay(self, fruitless: int, jitter: float) -> float:
        """Return the seconds to wait after the `fruitless`-th fruitless attempt in a row.

        Args:
            fruitless: 1 after the first.
            jitter: A random number in `[0, 1)`.
        """
        exponent = min(max(fruitless, 1) - 1, 30)
        return jitter * min(self.max_seconds, self.base_seconds * 2.0**exponent)


@dataclass(slots=True)
class Budget:
    """Fruitless attempts of one file, forgiven whenever it makes progress.

    Connections that fail together have made one attempt: patience is the same whatever their
    number, and whether they try at once or one after the other.
    """

    policy: RetryPolicy
    fruitless: int = 0
    _landed: int = 0
    _counted_at: float = -math.inf

    def spend(self, landed: int, began: float, now: float) -> bool:
        """Count a failed attempt; return whether another may follow.

        Args:
            landed: Bytes that this file ever received, over all of its connections.
            began: When the attempt was made; seconds, of any clock that does not go back.
            now: When it failed.
        """
        if landed > self._landed:
            self._landed, self.fruitless = landed, 0
        if began >= self._counted_at:
            self.fruitless += 1
            self._counted_at = now
        return self.fruitless < self.policy.attempts

    def delay(self, jitter: float) -> float:
        """Return the seconds to wait before the next attempt."""
        return self.policy.delay(self.fruitless, jitter)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that a host asks to wait, `None` when it does not say.

    Understands `Retry-After` in both forms (RFC 9110 section 10.2.3) and the Hub's
    `RateLimit: "resolvers";r=0;t=55` (draft-ietf-httpapi-ratelimit-headers), which is on every
    answer and counts only when nothing remains.

    Args:
        headers: Fields of the response; lookup must ignore case.
        now: Seconds since the epoch.
    """
    waits = [
        wait
        for wait in (
            _parse_retry_after(headers.get("Retry-After", ""), now),
            _parse_ratelimit(headers.get("RateLimit", "")),
        )
        if wait is not None
    ]
    return min(max(waits), MAX_RETRY_AFTER) if waits else None


def _parse_retry_after(value: str, now: float) -> float | None:
    value = value.strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _parse_ratelimit(value: str) -> float | None:
    remaining, reset = _REMAINING.search(value), _RESET.search(value)
    if remaining is None or reset is None or int(remaining[1]) > 0:
        return None
    # One second more than it says: its clock is cut to whole seconds.
    return float(reset[1]) + 1.0
