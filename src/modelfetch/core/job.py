r"""The states of a job, as a table. An absent entry is an illegal move.

(plan) --+--> already_downloaded
         |
         +--> downloading --finish--> completed
                |   ^   \--fail, cancel--> failed --retry--> downloading
 pause, disk_full   resume
   close, lost  v   |
                paused ----cancel---> failed

What a user may ask for, by state; "-" is harmless and changes nothing, "!" is `InvalidState`:

| asked      | downloading | paused      | completed | failed               |
|------------|-------------|-------------|-----------|----------------------|
| pause      | paused      | -           | !         | !                    |
| resume     | -           | downloading | !         | !                    |
| cancel     | failed      | failed      | !         | - if cancelled, or ! |
| retry      | -           | !           | !         | downloading          |
| prioritize | done        | done        | !         | !                    |
| forget     | !           | !           | forgotten | forgotten            |

A job that waits in line is `downloading`, and only such a one can be moved in it. A job that was
cancelled is failed, and may be retried. One that is `already_downloaded` takes nothing of these.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from modelfetch.errors import InvalidState
from modelfetch.status import JobState, JobStatus

__all__ = ["REASONS", "JobInput", "TRANSITIONS", "after", "lost"]


class JobInput(StrEnum):
    """What can happen to a job."""

    PAUSE = "pause"
    CLOSE = "close"
    """Its engine closes."""
    LOST = "lost"
    """The process that ran it is gone."""
    DISK_FULL = "disk_full"
    RESUME = "resume"
    RETRY = "retry"
    FINISH = "finish"
    FAIL = "fail"
    CANCEL = "cancel"


_DOWNLOADING, _PAUSED, _FAILED = JobState.DOWNLOADING, JobState.PAUSED, JobState.FAILED

TRANSITIONS: dict[tuple[JobState, JobInput], JobState] = {
    (_DOWNLOADING, JobInput.PAUSE): _PAUSED,
    (_DOWNLOADING, JobInput.CLOSE): _PAUSED,
    (_DOWNLOADING, JobInput.LOST): _PAUSED,
    (_DOWNLOADING, JobInput.DISK_FULL): _PAUSED,
    (_DOWNLOADING, JobInput.RESUME): _DOWNLOADING,
    (_DOWNLOADING, JobInput.RETRY): _DOWNLOADING,
    (_DOWNLOADING, JobInput.FINISH): JobState.COMPLETED,
    (_DOWNLOADING, JobInput.FAIL): _FAILED,
    (_DOWNLOADING, JobInput.CANCEL): _FAILED,
    (_PAUSED, JobInput.PAUSE): _PAUSED,
    (_PAUSED, JobInput.RESUME): _DOWNLOADING,
    (_PAUSED, JobInput.CANCEL): _FAILED,
    (_FAILED, JobInput.RETRY): _DOWNLOADING,
}

REASONS = {
    JobInput.PAUSE: "Somebody asked for it.",
    JobInput.CLOSE: "The engine that ran it was closed.",
    JobInput.LOST: "The process that ran it has ended.",
    JobInput.DISK_FULL: "The disk is full; resume when there is room.",
}
"""Why a job is paused, for people."""

# How far the numbers of a job's statuses are beyond those that its process wrote down, at most.
_UNWRITTEN = 1000


def after(state: JobState, event: JobInput) -> JobState:
    """Return the state that `event` leads to from `state`.

    Raises:
        InvalidState: It makes no sense there, such as pausing a completed job.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise InvalidState(f"A job that is {state} cannot take '{event}'.") from None


def lost(status: JobStatus) -> JobStatus:
    """Return what becomes of the last written status of a job whose process is gone."""
    return replace(
        status,
        state=after(status.state, JobInput.LOST),
        sequence=status.sequence + _UNWRITTEN,
        pause_reason=REASONS[JobInput.LOST],
        bytes_per_second=0.0,
        estimated_completion=None,
        connections=0,
        is_queued=False,
    )
