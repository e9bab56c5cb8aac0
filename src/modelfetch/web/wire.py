"""Job objects and errors as others may see them: without the paths of this machine."""

from __future__ import annotations

from typing import Any

from modelfetch.errors import (
    InsufficientSpace,
    InvalidConfiguration,
    InvalidToken,
    ModelFetchError,
    RateLimited,
    StorageError,
)
from modelfetch.status import JobStatus
from modelfetch.web.messages import Problem
from modelfetch.web.table import STATUSES
from modelfetch.wording import human_size

__all__ = ["INTERNAL", "job_object", "problem_of"]

INTERNAL = "Something went wrong inside the server; its log has more."
_DISK = {
    StorageError.kind: "The server cannot use its disk; its log has more.",
    InsufficientSpace.kind: "The server's disk is full.",
}


def job_object(status: JobStatus) -> dict[str, Any]:
    """Return LM Studio's job object."""
    wire = status.to_dict()
    error = wire.get("error")
    if error and error["type"] in _DISK:
        error["message"] = _DISK[error["type"]]
    return wire


def problem_of(error: ModelFetchError) -> Problem:
    """Return what a caller gets to know about an error."""
    if isinstance(error, InvalidToken):
        # 401 would tell the caller to log in here; it is this server that the Hub does not know.
        text = "The Hub does not accept this server's token."
        return Problem(403, "access_denied", text, code="invalid_hub_token")
    if isinstance(error, InvalidConfiguration):
        return Problem(500, "internal_error", INTERNAL)
    wire = error.to_dict()
    headers = {}
    if isinstance(error, RateLimited) and error.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    message = _disk_message(error) or wire["message"]
    return Problem(
        STATUSES.get(error.kind, 500),
        error.kind,
        message,
        code=wire.get("code"),
        param=wire.get("param"),
        headers=headers,
    )


def _disk_message(error: ModelFetchError) -> str | None:
    text = _DISK.get(error.kind)
    if isinstance(error, InsufficientSpace) and error.needed_bytes and error.free_bytes is not None:
        needed, free = human_size(error.needed_bytes), human_size(error.free_bytes)
        return f"The server's disk has no room: {needed} are needed, {free} are free."
    return text
