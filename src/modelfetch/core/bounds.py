"""Which numbers a setting may be."""

from __future__ import annotations

from typing import NamedTuple

from modelfetch.errors import InvalidConfiguration

__all__ = ["SPEED", "Bounds"]


class Bounds(NamedTuple):
    """The numbers from `low` to `high`, both included.

    Attributes:
        low: The least.
        high: The most.
        unit: What they count, for messages.
        whole: Whether they have no fraction.
        optional: Whether `None` is allowed too.
    """

    low: float
    high: float
    unit: str = ""
    whole: bool = False
    optional: bool = False

    def check(self, name: str, value: object) -> None:
        """See that the setting `name` is one of them.

        Raises:
            InvalidConfiguration: It is another number, no number (`nan` is none), or of a type that
                is none.
        """
        if value is None and self.optional:
            return
        kinds = int if self.whole else (int, float)
        is_number = isinstance(value, kinds) and not isinstance(value, bool)
        if is_number and self.low <= value <= self.high:  # type: ignore[operator]
            return
        number = "whole number" if self.whole else "number"
        raise InvalidConfiguration(
            f"{name} is {value!r}; it must be a {number} {self._range()}.",
            hint="Change it, or leave it out: there is a default.",
        )

    def _range(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        none = ", or None" if self.optional else ""
        return f"from {self.low:,g} to {self.high:,g}{unit}{none}"


SPEED = Bounds(1, 1e15, "bytes per second", optional=True)
"""A bound on a speed; `None` for none."""
