"""What is written down of a job, so that it outlives its process.

JSON with a `version`. A record holds what the job fetches and how far it was; no token and no URL.
It is checked when read, as what a server sends is: its names become paths.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

from modelfetch.core.paths import is_safe_path
from modelfetch.errors import (
    HubUnavailable,
    InsufficientSpace,
    IntegrityError,
    JobCancelled,
    ModelFetchError,
    NetworkError,
    StorageError,
)
from modelfetch.status import FileStatus, JobState, JobStatus
from modelfetch.types import FileRole, ModelMetadata, Plan, PlannedFile, ResolvedBy

__all__ = ["JobRecord", "NewerRecord", "is_job_id", "parse_record", "revived"]

VERSION = 1
_JOB_ID = re.compile(r"job_[0-9a-f]{10}")
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class NewerRecord(ValueError):
    """The record was written by a later modelfetch, which will know what it means."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job on paper.

    Attributes:
        plan: What it fetches.
        status: How it was.
        cache_dir: The cache that it fetches into; an engine sees the jobs of its own.
        endpoint: The Hub that it fetches from.
        priority: Larger runs earlier.
        place: Smaller runs earlier among those of one priority.
        ended_at: When it was over, in seconds since the epoch; `None` before.
        max_bytes_per_second: The bound on its speed; `None` for none.
    """

    plan: Plan
    status: JobStatus
    cache_dir: str
    endpoint: str
    priority: int = 0
    place: int = 0
    ended_at: float | None = None
    max_bytes_per_second: float | None = None

    @property
    def job_id(self) -> str:
        """Its id; only jobs that have one are written down."""
        assert self.status.job_id is not None
        return self.status.job_id

    def to_text(self) -> str:
        """Return the JSON."""
        document = {"version": VERSION, **asdict(self)}
        return json.dumps(document, indent=1)


def is_job_id(text: str) -> bool:
    """Return whether `text` has the form of an id, so that it may be part of a file name."""
    return _JOB_ID.fullmatch(text) is not None


def parse_record(text: str) -> JobRecord:
    """Return the record that `text` is.

    Raises:
        NewerRecord: A later version wrote it.
        ValueError: It is none.
    """
    try:
        document = json.loads(text)
        version = document.pop("version")
        if not isinstance(version, int) or isinstance(version, bool):
            raise ValueError("no version")
        if version > VERSION:
            raise NewerRecord(f"version {version}")
        record = JobRecord(
            plan=_plan(document.pop("plan")), status=_status(document.pop("status")), **document
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a record: {type(error).__name__}") from None
    _check(record)
    return record


def revived(error: dict[str, str] | None) -> ModelFetchError | None:
    """Return the error that `ModelFetchError.to_dict` made `error` of, as near as it can be."""
    if error is None:
        return None
    kinds = (
        HubUnavailable,
        InsufficientSpace,
        IntegrityError,
        JobCancelled,
        NetworkError,
        StorageError,
    )
    by_word: dict[str, type[ModelFetchError]] = {kind.kind: kind for kind in kinds}
    return by_word.get(error["type"], ModelFetchError)(error["message"])


def _plan(document: dict[str, Any]) -> Plan:
    files = tuple(
        PlannedFile(**{**file, "role": FileRole(file["role"])}) for file in document.pop("files")
    )
    resolved_by, told = ResolvedBy(document.pop("resolved_by")), document.pop("metadata", None)
    metadata = None if told is None else ModelMetadata(**told)
    return Plan(**document, files=files, resolved_by=resolved_by, metadata=metadata)


def _status(document: dict[str, Any]) -> JobStatus:
    files = tuple(FileStatus(**file) for file in document.pop("files"))
    return JobStatus(**{**document, "state": JobState(document["state"])}, files=files)


def _check(record: JobRecord) -> None:
    plan, status = record.plan, record.status
    paths = [file.path for file in plan.files]
    names = [name for file in plan.files for name in (file.sha256, file.git_oid) if name]
    is_sound = (
        _has_types(record)
        and _has_types(status)
        and _has_types(plan)
        and (plan.metadata is None or _has_types(plan.metadata))
        and all(map(_has_types, (*plan.files, *status.files)))
        and is_job_id(str(status.job_id))
        and len(plan.repo.split("/")) <= 2
        and all(map(is_safe_path, (plan.repo, *paths, *filter(None, [plan.joined_path]))))
        and bool(_COMMIT.fullmatch(plan.commit))
        and all(map(_HASH.fullmatch, names))
        and all(file.sha256 or file.git_oid for file in plan.files)
        and bool(paths)
        and [file.path for file in status.files] == paths
        and all(0 <= file.size_bytes < 1 << 62 for file in plan.files)
        and (record.max_bytes_per_second is None or record.max_bytes_per_second > 0)
        and (status.error is None or {"type", "message"} <= status.error.keys())
    )
    if not is_sound:
        raise ValueError("not a record: a field has a value that it cannot have")


# What each annotation of these dataclasses allows in JSON.
_SCALARS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "None": (type(None),),
    "dict[str, str]": (dict,),
}


def _has_types(value: Any) -> bool:
    """Return whether the simple fields of a dataclass have the types that they are said to have."""
    for item in fields(value):
        words = str(item.type).split(" | ")
        if not all(word in _SCALARS for word in words):
            continue  # another dataclass, checked by itself
        here = getattr(value, item.name)
        allowed = {kind for word in words for kind in _SCALARS[word]}
        if type(here) not in allowed or here != here:
            return False
        if isinstance(here, dict) and not all(type(text) is str for text in here.values()):
            return False
    return True
