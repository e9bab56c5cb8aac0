"""Several endpoints: whose answer counts."""

from __future__ import annotations

import pytest

from modelfetch import errors
from modelfetch.core.failover import Failure, leads_on, outcome


def failure(error: errors.ModelFetchError, *, hub: bool = False) -> Failure:
    return Failure("hub.example" if hub else "mirror.example", hub, error)


@pytest.mark.parametrize(
    ("kind", "from_mirror", "from_hub"),
    [
        (errors.HubUnavailable, True, True),
        (errors.RateLimited, True, True),
        (errors.NetworkError, True, True),
        (errors.ModelNotFound, True, True),
        (errors.RevisionNotFound, True, True),
        (errors.AccessDenied, True, False),
        (errors.GatedModel, True, False),
        (errors.InvalidToken, True, False),
        (errors.Offline, False, False),
        (errors.InvalidConfiguration, False, False),
        (errors.StorageError, False, False),
    ],
)
def test_what_leads_on(
    kind: type[errors.ModelFetchError], from_mirror: bool, from_hub: bool
) -> None:
    assert leads_on(failure(kind("x"))) is from_mirror
    assert leads_on(failure(kind("x"), hub=True)) is from_hub


def test_the_hub_s_word_counts_and_the_others_are_told() -> None:
    down, unknown = errors.HubUnavailable("down."), errors.ModelNotFound("none.", hint="Check.")
    assert outcome([failure(down), failure(unknown, hub=True)]) is unknown
    assert unknown.hint == "Check. Also asked: mirror.example: down."


def test_in_a_transfer_what_may_pass_counts_for_more() -> None:
    unknown, down = errors.ModelNotFound("none."), errors.HubUnavailable("down.")
    failures = [failure(unknown, hub=True), failure(down)]
    assert outcome(failures, in_transfer=True) is down
    gated = errors.GatedModel("gated.")
    both = [failure(errors.NetworkError("broke.")), failure(gated, hub=True)]
    assert outcome(both, in_transfer=True).message == "broke."
    assert outcome(both) is gated
    assert outcome([failure(gated, hub=True)], in_transfer=True) is gated


def test_what_does_not_lead_on_is_the_answer() -> None:
    wrong = errors.InvalidConfiguration("wrong.")
    assert outcome([failure(errors.ModelNotFound("x"), hub=True), failure(wrong)]) is wrong


def test_one_alone_is_left_as_it_is() -> None:
    error = errors.ModelNotFound("x", hint="y")
    assert outcome([failure(error)]) is error
    assert error.hint == "y"
