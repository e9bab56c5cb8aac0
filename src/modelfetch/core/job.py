r"""The states of a job, as a table. An absent entry is an illegal move.

(plan) --+--> already_downloaded
         |
         +--> downloading --finish--> completed
                |   ^   \--fail, cancel--> failed
 pause, disk_full   resume
                v   |
                paused ----cancel---> failed
"""

from __future__ import annotations

from enum import StrEnum

from modelfetch.errors import InvalidState
from modelfetch.status import JobState

__all__ = ["JobInput", "TRANSITIONS", "after"]


class JobInput(StrEnum):
    """What can happen to a job."""

    PAUSE = "pause"
    DISK_FULL = "disk_full"
    RESUME = "resume"
    FINISH = "finish"
    FAIL = "fail"
    CANCEL = "cancel"


_DOWNLOADING, _PAUSED = JobState.DOWNLOADING, JobState.PAUSED

TRANSITIONS: dict[tuple[JobState, JobInput], JobState] = {
    (_DOWNLOADING, JobInput.PAUSE): _PAUSED,
    (_DOWNLOADING, JobInput.DISK_FULL): _PAUSED,
    (_DOWNLOADING, JobInput.RESUME): _DOWNLOADING,
    (_DOWNLOADING, JobInput.FINISH): JobState.COMPLETED,
    (_DOWNLOADING, JobInput.FAIL): JobState.FAILED,
    (_DOWNLOADING, JobInput.CANCEL): JobState.FAILED,
    (_PAUSED, JobInput.PAUSE): _PAUSED,
    (_PAUSED, JobInput.RESUME): _DOWNLOADING,
    (_PAUSED, JobInput.CANCEL): JobState.FAILED,
}


def after(state: JobState, event: JobInput) -> JobState:
    """Return the state that `event` leads to from `state`.

    Raises:
        InvalidState: It makes no sense there, such as pausing a completed job.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise InvalidState(f"A job that is {state} cannot take '{event}'.") from None
