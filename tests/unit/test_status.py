from __future__ import annotations

import pytest

from modelfetch.status import JobState, JobStatus, iso_time

FULL = JobStatus(
    state=JobState.DOWNLOADING,
    job_id="job_493c7c9ded",
    total_size_bytes=2279145003,
    downloaded_bytes=948,
    bytes_per_second=7834.71,
    started_at=1759505603.496,
    estimated_completion=1759796507.03,
    completed_at=1759796508.0,
    error={"type": "network_error", "message": "m"},
)
ALWAYS = {"job_id", "status", "total_size_bytes", "downloaded_bytes", "started_at"}


def test_lm_studios_own_example() -> None:
    assert FULL.to_dict() == {
        "job_id": "job_493c7c9ded",
        "status": "downloading",
        "total_size_bytes": 2279145003,
        "downloaded_bytes": 948,
        "bytes_per_second": 7834.71,
        "estimated_completion": "2025-10-07T00:21:47.030Z",
        "started_at": "2025-10-03T15:33:23.496Z",
    }


@pytest.mark.parametrize(
    ("state", "more"),
    [
        (JobState.DOWNLOADING, {"bytes_per_second", "estimated_completion"}),
        (JobState.PAUSED, set()),
        (JobState.COMPLETED, {"completed_at"}),
        (JobState.FAILED, {"error"}),
    ],
)
def test_which_fields_are_there(state: JobState, more: set[str]) -> None:
    from dataclasses import replace

    assert replace(FULL, state=state).to_dict().keys() == ALWAYS | more


def test_already_downloaded_says_only_that() -> None:
    status = JobStatus(state=JobState.ALREADY_DOWNLOADED, total_size_bytes=5, started_at=1.0)
    assert status.to_dict() == {"status": "already_downloaded"}


def test_no_end_is_estimated_at_no_speed() -> None:
    from dataclasses import replace

    wire = replace(FULL, bytes_per_second=0.0).to_dict()
    assert wire["bytes_per_second"] == 0.0
    assert "estimated_completion" not in wire


def test_times_have_milliseconds_and_a_z() -> None:
    assert iso_time(0.0) == "1970-01-01T00:00:00.000Z"
