"""The mean, the middle and the spread of a few numbers.

`statistics` has them too, exact to the last bit by way of fractions and decimals; loading those
takes as long as a dozen modules of this package, at each start of a command.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import hypot, sqrt

__all__ = ["deviation", "mean", "median"]


def mean(numbers: Sequence[float]) -> float:
    """Return the mean; there must be one number."""
    return sum(numbers) / len(numbers)


def median(numbers: Iterable[float]) -> float:
    """Return the middle one, or the mean of the middle two; there must be one number."""
    ordered = sorted(numbers)
    half = len(ordered) // 2
    return (ordered[half] + ordered[~half]) / 2


def deviation(numbers: Sequence[float]) -> float:
    """Return the standard deviation of what they are a sample of; there must be two numbers."""
    middle = mean(numbers)
    return hypot(*(number - middle for number in numbers)) / sqrt(len(numbers) - 1)
