"""Several endpoints: whose answer counts, and what to say when none has helped.

One of them is the Hub itself, in the sense that the token is for it. What that one refuses to this
user, nobody else is asked for. From any other endpoint a refusal says only that it does not have
the model, or wants a token that it does not get.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from modelfetch.errors import (
    AccessDenied,
    HubUnavailable,
    ModelFetchError,
    ModelNotFound,
    NetworkError,
    Offline,
    RevisionNotFound,
)

__all__ = ["Failure", "in_words", "leads_on", "outcome"]


class Failure(NamedTuple):
    """What an endpoint said.

    Attributes:
        host: Its `host[:port]`.
        is_hub: Whether the token is for it.
        error: What it said.
    """

    host: str
    is_hub: bool
    error: ModelFetchError


def leads_on(failure: Failure) -> bool:
    """Return whether the next endpoint is asked."""
    error = failure.error
    if isinstance(error, AccessDenied):
        return not failure.is_hub
    passing = (HubUnavailable, NetworkError, ModelNotFound, RevisionNotFound)
    return isinstance(error, passing) and not isinstance(error, Offline)


def outcome(failures: Sequence[Failure], *, in_transfer: bool = False) -> ModelFetchError:
    """Return the error of all, with what the others said as a hint.

    Args:
        failures: At least one; none but the last may be one that does not lead on.
        in_transfer: Whether the model is known to exist, so that a fault that may pass counts for
            more than a refusal.
    """
    best = next((it for it in failures if it.is_hub), failures[0])
    if not leads_on(failures[-1]):
        best = failures[-1]
    if in_transfer:
        passing = (it for it in failures if isinstance(it.error, HubUnavailable | NetworkError))
        best = next(passing, best)
    others = [it for it in failures if it is not best]
    if others:
        best.error.hint = " ".join(
            filter(None, [best.error.hint, f"Also asked: {in_words(others)}"])
        )
    return best.error


def in_words(failures: Sequence[Failure]) -> str:
    """Return what the endpoints said, for people."""
    return " ".join(f"{it.host}: {it.error.message}" for it in failures)
