"""The script of a FakeHub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from modelfetch.testing.faults import Fault
from modelfetch.testing.log import LoggedRequest

__all__ = ["Rule", "Where"]

Where = Literal["api", "resolve", "cdn"]


@dataclass
class Rule:
    """One line of it: which requests go wrong, how, and how many of them; see `FakeHub.script`."""

    fault: Fault
    on: Where
    path: str
    left: int | None
    skip: int
    when: Callable[[LoggedRequest], bool] | None

    def fits(self, on: Where, record: LoggedRequest) -> bool:
        """Whether the rule is about this request."""
        subject = record.path if on == "api" else record.file
        is_meant = self.on == on and self.left != 0 and fnmatchcase(subject, self.path)
        return is_meant and (self.when is None or self.when(record))
