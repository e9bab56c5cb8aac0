"""What a job shows of what others wrote down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.core.test_record import PLAN, RECORD

from modelfetch import Config, JobState, JobStatus
from modelfetch.board import Board
from modelfetch.core.job import JobInput
from modelfetch.core.record import JobRecord


@pytest.fixture
def seen() -> list[JobStatus]:
    return []


@pytest.fixture
def board(tmp_path: Path, seen: list[JobStatus]) -> Board:
    def on_status(_: object, status: JobStatus) -> None:
        seen.append(status)

    board = Board(PLAN, Config(cache_dir=tmp_path), RECORD.job_id, 1, on_status)
    board.show(RECORD)
    return board


def later(**changes: Any) -> JobRecord:
    return replace(RECORD, status=replace(RECORD.status, **changes))


def test_it_shows_what_is_written(board: Board, seen: list[JobStatus]) -> None:
    assert board.status == RECORD.status == seen[-1]
    assert (board.priority, board.place) == (-2, 4)


@pytest.mark.parametrize("sequence", [3, 7])
def test_what_is_older_than_what_it_shows_is_no_news(
    board: Board, seen: list[JobStatus], sequence: int
) -> None:
    board.show(later(sequence=sequence, state=JobState.DOWNLOADING))
    assert board.state is JobState.PAUSED
    assert len(seen) == 1


def test_no_bytes_are_taken_back(board: Board) -> None:
    files = tuple(replace(file, downloaded_bytes=0) for file in RECORD.status.files)
    board.show(later(sequence=8, downloaded_bytes=2, files=files))
    assert (board.status.sequence, board.status.downloaded_bytes) == (8, 8)
    board.is_live = True
    assert board.status.files[0].downloaded_bytes == 8


def test_what_runs_here_knows_best(board: Board) -> None:
    board.move(JobInput.RESUME)
    board.is_live = True
    board.show(later(sequence=99))
    board.orphaned()
    assert board.state is JobState.DOWNLOADING


def test_an_orphan_has_numbers_beyond_those_that_were_lost(board: Board) -> None:
    board.show(later(sequence=20, state=JobState.DOWNLOADING, bytes_per_second=5.0, connections=3))
    assert not board.was_left
    board.orphaned()
    assert board.was_left
    status = board.status
    assert (status.state, status.bytes_per_second, status.connections) == (JobState.PAUSED, 0.0, 0)
    # Ten statuses a second, and one record: far fewer can be lost.
    assert status.sequence > 20 + 100
