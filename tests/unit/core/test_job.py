from __future__ import annotations

import pytest

from modelfetch.core.job import TRANSITIONS, JobInput, after
from modelfetch.errors import InvalidState
from modelfetch.status import JobState


def test_only_a_retry_leads_out_of_a_terminal_state() -> None:
    for state in JobState:
        exits = {event for event in JobInput if (state, event) in TRANSITIONS}
        if state is JobState.FAILED:
            assert exits == {JobInput.RETRY}
        else:
            assert bool(exits) is not state.is_terminal


def test_every_state_can_reach_the_end() -> None:
    reached = {state for state in JobState if state.is_terminal}
    for _ in JobState:
        reached |= {state for (state, _), target in TRANSITIONS.items() if target in reached}
    assert reached == set(JobState)


def test_an_illegal_move_is_a_typed_error() -> None:
    with pytest.raises(InvalidState, match="completed cannot take 'pause'"):
        after(JobState.COMPLETED, JobInput.PAUSE)


def test_what_changes_nothing_is_allowed() -> None:
    assert after(JobState.PAUSED, JobInput.PAUSE) is JobState.PAUSED
    assert after(JobState.DOWNLOADING, JobInput.RESUME) is JobState.DOWNLOADING
