from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from modelfetch.core.record import JobRecord, NewerRecord, is_job_id, parse_record, revived
from modelfetch.errors import (
    IntegrityError,
    JobCancelled,
    ModelFetchError,
    NetworkError,
    StorageError,
)
from modelfetch.status import FileStatus, JobState, JobStatus
from modelfetch.types import FileRole, Plan, PlannedFile

PLAN = Plan(
    repo="acme/tiny-GGUF",
    revision="main",
    commit="a" * 40,
    quantization="Q4_K_M",
    rule="the only one",
    files=(
        PlannedFile("a/m-Q4_K_M.gguf", 10, "b" * 64),
        PlannedFile("mmproj.gguf", 5, None, "c" * 40, role=FileRole.MMPROJ),
    ),
)
RECORD = JobRecord(
    plan=PLAN,
    status=JobStatus(
        state=JobState.PAUSED,
        sequence=7,
        job_id="job_0123456789",
        total_size_bytes=15,
        downloaded_bytes=8,
        started_at=1.5,
        pause_reason="Somebody asked for it.",
        files=(FileStatus("a/m-Q4_K_M.gguf", 10, 8), FileStatus("mmproj.gguf", 5, verified=True)),
    ),
    cache_dir="/cache",
    endpoint="https://hub.example",
    priority=-2,
    place=4,
)


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        replace(RECORD, plan=replace(PLAN, quantization=None, joined_path="m.gguf")),
        replace(RECORD, plan=replace(PLAN, repo="gpt2")),
        replace(
            RECORD,
            ended_at=3.0,
            status=replace(
                RECORD.status,
                state=JobState.FAILED,
                error={"type": "network_error", "message": "m"},
            ),
        ),
    ],
)
def test_what_is_written_is_read(record: JobRecord) -> None:
    assert parse_record(record.to_text()) == record


def changed(*path: str | int, to: Any) -> str:
    """Return the text of the record with one value changed."""
    document = json.loads(RECORD.to_text())
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return json.dumps(document)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "[" * 100_000,
        RECORD.to_text()[:-20],
        changed("version", to="1"),
        changed("version", to=True),
        changed("plan", to=None),
        changed("plan", "repo", to="../../etc"),
        changed("plan", "repo", to="a/b/c"),
        changed("plan", "commit", to="../up"),
        changed("plan", "files", to=[]),
        changed("plan", "files", 0, "path", to="../x"),
        changed("plan", "files", 0, "path", to="/x"),
        changed("plan", "files", 0, "path", to=5),
        changed("plan", "files", 0, "sha256", to="../x"),
        changed("plan", "files", 0, "sha256", to=None),
        changed("plan", "files", 0, "size_bytes", to=-1),
        changed("plan", "files", 0, "size_bytes", to="10"),
        changed("plan", "files", 0, "role", to="villain"),
        changed("plan", "joined_path", to="../x"),
        changed("plan", "resolved_by", to="me"),
        changed("plan", "more", to=1),
        changed("status", "state", to="asleep"),
        changed("status", "job_id", to="job_../../x"),
        changed("status", "job_id", to=None),
        changed("status", "sequence", to="7"),
        changed("status", "downloaded_bytes", to=float("nan")),
        changed("status", "started_at", to=float("nan")),
        changed("status", "error", to={"type": "x"}),
        changed("status", "error", to={"type": "x", "message": 5}),
        changed("status", "files", to=[]),
        changed("status", "files", 0, "path", to="other"),
        changed("place", to=None),
        changed("cache_dir", to=None),
    ],
    ids=lambda text: text[:12],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_record(text)


def test_a_later_version_is_told_apart() -> None:
    with pytest.raises(NewerRecord):
        parse_record(json.dumps({"version": 2, "whatever": 1}))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (JobCancelled("m"), JobCancelled),
        (NetworkError("m"), NetworkError),
        (IntegrityError("m"), IntegrityError),
        (StorageError("m"), StorageError),
        (ModelFetchError("m"), ModelFetchError),
    ],
)
def test_errors_come_back_as_what_they_were(
    error: ModelFetchError, kind: Callable[..., Any]
) -> None:
    again = revived(error.to_dict())
    assert type(again) is kind
    assert again is not None
    assert again.to_dict() == error.to_dict()
    assert revived(None) is None


def test_ids() -> None:
    assert is_job_id("job_0123456789")
    for text in (
        "job_",
        "job_012345678",
        "job_012345678g",
        "../job_0123456789",
        "job_0123456789\n",
    ):
        assert not is_job_id(text)
