"""The records of jobs on disk, and the notes that engines leave for each other.

    <state_dir>/
      jobs.lock                one engine at a time makes jobs
      jobs/<job_id>.json       the record; replaced as a whole
      jobs/<job_id>.lock       held by the engine in which the job runs, freed by the kernel
      jobs/<job_id>.ask.json   what another engine asks of that one
      jobs/<job_id>.json.bad   a record that made no sense, for inspection

A record without a holder of its lock belongs to nobody: any engine may run the job. So whoever
takes a lock reads the record again: it is what the last holder left.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from modelfetch.core.job import JobInput
from modelfetch.core.record import JobRecord, NewerRecord, is_job_id, parse_record
from modelfetch.errors import StorageError
from modelfetch.status import JobState
from modelfetch.storage.faults import storage_errors
from modelfetch.storage.locks import BlobLock
from modelfetch.storage.records import read_text, write_text

__all__ = ["Ask", "Ledger", "Mark", "News"]

_log = logging.getLogger(__name__)

# A draft that is older was left by a process that was killed.
_DRAFT_SECONDS = 3600.0
# A model of 10,000 files makes 6 MB.
_MAX_RECORD = 64 << 20

Mark = tuple[int, int, int]
"""Tells one version of a file from the next: inode, size, time of change."""
_UNREAD: Mark = (0, 0, 0)


class Ask(NamedTuple):
    """What an engine asks of the one in which a job runs.

    Attributes:
        event: Pause, resume or cancel.
        delete: For a cancel: whether to remove what came.
        expires_at: When nobody waits for it any more, in seconds since the epoch.
    """

    event: JobInput
    delete: bool
    expires_at: float


@dataclass(slots=True)
class News:
    """What changed in the ledger.

    Attributes:
        marks: Of all records that are there now.
        records: Those that are new or changed.
    """

    marks: dict[str, Mark] = field(default_factory=dict)
    records: list[JobRecord] = field(default_factory=list)


class Ledger:
    """The records in one state folder. All methods block.

    Args:
        root: The folder; made when it is opened.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._jobs = root, root / "jobs"
        self._newer: set[str] = set()

    def open(self) -> None:
        """Make the folder, for this user alone, and see that it can be written.

        Raises:
            StorageError: It cannot.
        """
        with storage_errors(self._jobs):
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._jobs.mkdir(exist_ok=True, mode=0o700)
            self._remove_drafts()
        door = self.door()
        door.try_acquire()
        door.release()

    def door(self) -> BlobLock:
        """Return the lock under which jobs are made."""
        return BlobLock(self._root / "jobs.lock")

    def lock(self, job_id: str) -> BlobLock:
        """Return the lock of whoever runs a job."""
        return BlobLock(self._path(job_id, "lock"))

    def write(self, record: JobRecord) -> bool:
        """Put a record in place of the last one, and return `True`.

        Raises:
            StorageError: The file system refused; the last one is untouched.
        """
        path = self._path(record.job_id, "json")
        with storage_errors(path):
            write_text(path, record.to_text())
        return True

    def read(self, job_id: str) -> JobRecord | None:
        """Return a record; `None` when there is none that can be used."""
        path = self._path(job_id, "json")
        text = read_text(path, _MAX_RECORD)
        if text is None:
            return None
        try:
            record = parse_record(text)
            if record.job_id != job_id:
                raise ValueError("it has the id of another")
        except NewerRecord as error:
            if job_id not in self._newer:
                _log.warning("%s is of a later modelfetch (%s), and left to it", path, error)
                self._newer.add(job_id)
            return None
        except ValueError as error:
            _log.warning("%s cannot be used, and is set aside: %s", path, error)
            self._set_aside(path)
            return None
        return record

    def is_forgotten(self, job_id: str) -> bool:
        """Return whether there is no record of a job, in a folder that is there."""
        return self._jobs.is_dir() and not self._path(job_id, "json").exists()

    def remove(self, job_id: str) -> None:
        """Remove all of a job; for whoever holds its lock.

        Raises:
            StorageError: The file system refused.
        """
        # The lock's file comes last. Who opened it before finds no record under the lock.
        for kind in ("json", "ask.json", "lock"):
            path = self._path(job_id, kind)
            with storage_errors(path):
                path.unlink(missing_ok=True)

    def news(self, known: Mapping[str, Mark], settled: Set[str]) -> News:
        """Return what is there, and what is not as `known`.

        Args:
            known: The marks of the last time.
            settled: Jobs of which nothing can be learned but that they are gone; thousands of them
                cost no more than reading the folder.

        Raises:
            StorageError: The folder cannot be read.
        """
        news = News()
        with storage_errors(self._jobs):
            for job_id in self._named("json"):
                mark = _UNREAD if job_id in settled else self._mark(job_id)
                if mark is None:
                    continue  # forgotten meanwhile
                news.marks[job_id] = mark
                if known.get(job_id) != mark and job_id not in settled:
                    record = self.read(job_id)
                    if record is not None:
                        news.records.append(record)
        return news

    def orphans(self, job_ids: Iterable[str]) -> list[str]:
        """Return those that are said to run, and whose lock is free all the same."""
        return [job_id for job_id in job_ids if self._is_orphan(job_id)]

    def _is_orphan(self, job_id: str) -> bool:
        lock = self.lock(job_id)
        try:
            # The record is read under the lock: it may have ended a moment ago.
            record = self.read(job_id) if lock.try_acquire() else None
        except StorageError:
            return False
        finally:
            lock.release()
        return record is not None and record.status.state is JobState.DOWNLOADING

    def ask(self, job_id: str, ask: Ask) -> None:
        """Leave a note for the engine in which a job runs.

        Raises:
            StorageError: The file system refused.
        """
        path = self._path(job_id, "ask.json")
        with storage_errors(path):
            write_text(path, json.dumps(ask._asdict()))

    def is_asked(self, job_id: str) -> bool:
        """Return whether a note is still there."""
        return self._path(job_id, "ask.json").exists()

    def withdraw(self, job_id: str) -> None:
        """Remove a note, if it is still there."""
        with storage_errors(self._jobs):
            self._path(job_id, "ask.json").unlink(missing_ok=True)

    def take_asks(self, job_ids: Iterable[str]) -> dict[str, Ask]:
        """Take the notes that others left for these jobs.

        Raises:
            StorageError: The folder cannot be read.
        """
        with storage_errors(self._jobs):
            noted = self._named("ask.json")
        asks = {job_id: self._take_ask(job_id) for job_id in job_ids if job_id in noted}
        return {job_id: ask for job_id, ask in asks.items() if ask is not None}

    def _take_ask(self, job_id: str) -> Ask | None:
        path = self._path(job_id, "ask.json")
        # Renamed first: a note that comes in between is another file, and kept.
        taken = path.with_name(f"{path.name}.taken.tmp")
        try:
            path.replace(taken)
            document = json.loads(read_text(taken) or "")
            taken.unlink()
            ask = Ask(
                JobInput(document["event"]),
                document["delete"] is True,
                float(document["expires_at"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        # One that nobody waits for any more is from somebody who was killed.
        return ask if ask.expires_at > time.time() else None

    def _path(self, job_id: str, kind: str) -> Path:
        return self._jobs / f"{job_id}.{kind}"

    def _named(self, kind: str) -> list[str]:
        """Return the jobs that have a file of a kind."""
        suffix = f".{kind}"
        with os.scandir(self._jobs) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(suffix)]
        return [job_id for name in names if is_job_id(job_id := name.removesuffix(suffix))]

    def _mark(self, job_id: str) -> Mark | None:
        try:
            found = self._path(job_id, "json").lstat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _set_aside(self, path: Path) -> None:
        try:
            path.replace(path.with_name(f"{path.name}.bad"))
        except OSError as error:
            _log.warning("%s cannot be renamed: %s", path, error)

    def _remove_drafts(self) -> None:
        oldest = time.time() - _DRAFT_SECONDS
        for path in self._jobs.glob("*.tmp"):
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
            except FileNotFoundError:
                continue
