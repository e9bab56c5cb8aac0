"""The notes that engines leave for each other."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.core.test_record import RECORD

from modelfetch.core.job import JobInput
from modelfetch.status import FileStatus
from modelfetch.storage.ledger import Ask, Ledger
from modelfetch.types import PlannedFile

ID = RECORD.job_id


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path / "state")
    ledger.open()
    return ledger


def soon(event: JobInput) -> Ask:
    return Ask(event, delete=False, expires_at=time.time() + 60)


def test_a_note_is_taken_once_and_the_last_one_counts(ledger: Ledger) -> None:
    ledger.ask(ID, soon(JobInput.PAUSE))
    ledger.ask(ID, soon(JobInput.CANCEL))
    assert ledger.is_asked(ID)
    assert ledger.take_asks([ID])[ID].event is JobInput.CANCEL
    assert not ledger.is_asked(ID)
    assert ledger.take_asks([ID]) == {}
    ledger.ask(ID, soon(JobInput.PAUSE))
    ledger.withdraw(ID)
    ledger.withdraw(ID)
    assert ledger.take_asks([ID]) == {}


def test_notes_that_nobody_waits_for_or_that_make_no_sense_do_nothing(
    ledger: Ledger, tmp_path: Path
) -> None:
    ledger.ask(ID, Ask(JobInput.CANCEL, delete=True, expires_at=time.time() - 1))
    assert ledger.take_asks([ID]) == {}
    path = tmp_path / "state/jobs" / f"{ID}.ask.json"
    for text in ("", "{", "[]", "{}", '{"event": "sing", "delete": true, "expires_at": 9e9}'):
        path.write_text(text)
        assert ledger.take_asks([ID]) == {}
        assert not path.exists()


def test_news_are_what_changed(ledger: Ledger) -> None:
    ledger.write(RECORD)
    first = ledger.news({}, set())
    assert first.records == [RECORD]
    assert ledger.news(first.marks, set()).records == []
    assert ledger.news({}, {ID}).records == []
    ledger.write(RECORD)
    assert ledger.news(first.marks, set()).records == [RECORD]
    ledger.remove(ID)
    assert ledger.news(first.marks, set()).marks == {}


def test_of_what_is_settled_nothing_is_looked_at_but_whether_it_is_there(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.write(RECORD)
    with monkeypatch.context() as patch:
        for call in ("stat", "lstat", "open"):
            patch.setattr(os, call, lambda *_, **__: pytest.fail("a record was looked at"))
        settled = ledger.news({}, {ID})
    assert settled.records == []
    assert settled.marks.keys() == {ID}
    assert ledger.news(settled.marks, set()).records == [RECORD], "it is not settled any more"
    ledger.remove(ID)
    assert ledger.news(settled.marks, {ID}).marks == {}


def test_a_model_of_very_many_files_can_be_read_again(ledger: Ledger) -> None:
    files = tuple(PlannedFile(f"m-{n:05}-of-10000.gguf", 10, f"{n:064x}") for n in range(10_000))
    shown = tuple(FileStatus(file.path, 10, 5) for file in files)
    record = replace(
        RECORD,
        plan=replace(RECORD.plan, files=files),
        status=replace(RECORD.status, files=shown, total_size_bytes=100_000),
    )
    ledger.write(record)
    assert ledger.news({}, set()).records == [record]


def test_a_look_for_notes_touches_no_job_without_one(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.write(RECORD)
    monkeypatch.setattr(Path, "replace", lambda *_: pytest.fail("a note was looked for"))
    assert ledger.take_asks([ID, "job_0000000001"]) == {}


def test_only_a_job_that_is_said_to_run_is_an_orphan(ledger: Ledger) -> None:
    from modelfetch.status import JobState

    ledger.write(RECORD)
    assert ledger.orphans([ID]) == []
    running = replace(RECORD, status=replace(RECORD.status, state=JobState.DOWNLOADING))
    ledger.write(running)
    lock = ledger.lock(ID)
    assert lock.try_acquire()
    assert ledger.orphans([ID]) == []
    lock.release()
    assert ledger.orphans([ID, "job_ffffffffff"]) == [ID]


def test_drafts_of_processes_that_died_are_removed(ledger: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "state/jobs"
    old, new = folder / "a.json.1.tmp", folder / "b.json.2.tmp"
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    ledger.open()
    assert (old.exists(), new.exists()) == (False, True)


def test_a_record_under_the_name_of_another_is_set_aside(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "state/jobs"
    (folder / "job_ffffffffff.json").write_text(RECORD.to_text())
    (folder / "whatever.json").write_text("{}")
    assert ledger.news({}, set()).records == []
    assert "set aside" in caplog.text
    assert (folder / "whatever.json").exists()
