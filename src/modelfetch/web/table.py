"""The API as a table: the handler answers by it, `openapi` tells about it.

The first two calls and the job object are LM Studio's, https://lmstudio.ai/docs/developer/rest
(read at lmstudio-ai/docs c6854fb, 2026-04-29); the other ones are modelfetch's own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from modelfetch.core.refs import MAX_LENGTH
from modelfetch.status import JobState
from modelfetch.web.fields import Field
from modelfetch.web.messages import Problem

__all__ = ["JOB_STATES", "OPERATIONS", "PATHS", "STATUSES", "Operation", "find", "methods_of"]

JOB_ID = "^job_[0-9a-f]{10}$"
_AN_ID = "job_493c7c9ded"

# `type` of an error -> HTTP status.
STATUSES: dict[str, int] = {
    "invalid_request": 400,
    "unauthorized": 401,
    "access_denied": 403,
    "model_not_found": 404,
    "quantization_not_found": 404,
    "job_not_found": 404,
    "ambiguous_quantization": 409,
    "insufficient_memory": 409,
    "invalid_state": 409,
    "rate_limited": 429,
    "internal_error": 500,
    "storage_error": 500,
    "hub_unavailable": 502,
    "network_error": 502,
    "integrity_error": 502,
    "unusable_model": 502,
    "unavailable": 503,
    "timeout": 504,
    "insufficient_space": 507,
}

# The fields of a job object in each state: always there, and there when known.
_SIZES = ("total_size_bytes", "downloaded_bytes", "started_at")
JOB_STATES: dict[JobState, tuple[tuple[str, ...], tuple[str, ...]]] = {
    JobState.DOWNLOADING: (("job_id", *_SIZES, "bytes_per_second"), ("estimated_completion",)),
    JobState.PAUSED: (("job_id", *_SIZES), ()),
    JobState.COMPLETED: (("job_id", *_SIZES, "completed_at"), ()),
    JobState.FAILED: (("job_id", *_SIZES, "error"), ()),
    JobState.ALREADY_DOWNLOADED: ((), ()),
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        name: Its name in programs that are generated from the OpenAPI document.
        method: HTTP method.
        path: Path, with `{name}` for fields of it.
        summary: One sentence.
        answer: What a 200 holds: a schema of `openapi`, or a media type.
        in_path: Fields of the path.
        query: Fields of the query.
        body: Fields of the JSON body; `None` when it has none.
        errors: Types of errors that only some operations answer with.
    """

    name: str
    method: str
    path: str
    summary: str
    answer: str
    in_path: tuple[Field, ...] = ()
    query: tuple[Field, ...] = ()
    body: tuple[Field, ...] | None = None
    errors: tuple[str, ...] = ()


_ROOT = "/api/v1/models/download"
_ID = Field(
    "job_id",
    "string",
    "The unique identifier of the download job.",
    required=True,
    pattern=JOB_ID,
    example=_AN_ID,
)
_OF_PLANS = (
    *("model_not_found", "quantization_not_found", "ambiguous_quantization"),
    *("insufficient_memory", "access_denied", "rate_limited", "hub_unavailable"),
    *("insufficient_space", "storage_error", "invalid_state"),
)
_ABOUT_JOB: dict[str, Any] = {"answer": "Job", "in_path": (_ID,)}

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "downloadModel",
        "POST",
        _ROOT,
        "Download a model, join the job that is at it, or find that it is there already.",
        "DownloadResponse",
        body=(
            Field(
                "model",
                "string",
                "A repository of the configured Hub as `owner/name`, or a link to it.",
                required=True,
                max_length=MAX_LENGTH,
                example="https://huggingface.co/lmstudio-community/gpt-oss-20b-GGUF",
            ),
            Field(
                "quantization",
                "string",
                "Which build of it, such as `Q4_K_M`; `auto` for the best that fits in memory.",
                max_length=256,
                example="Q4_K_M",
            ),
        ),
        errors=_OF_PLANS,
    ),
    Operation("listDownloads", "GET", _ROOT, "List all jobs, oldest first.", "Jobs"),
    Operation(
        "downloadEvents",
        "GET",
        f"{_ROOT}/events",
        "Follow one job to its end, or all jobs, as server-sent events.",
        "text/event-stream",
        query=(
            Field(
                "job_id",
                "string",
                "Only this job; the stream ends when the job does.",
                pattern=JOB_ID,
                example=_AN_ID,
            ),
        ),
        errors=("job_not_found",),
    ),
    Operation(
        "downloadStatus",
        "GET",
        f"{_ROOT}/status/{{job_id}}",
        "Get the status of a job.",
        errors=("job_not_found",),
        **_ABOUT_JOB,
    ),
    Operation(
        "pauseDownload",
        "POST",
        f"{_ROOT}/{{job_id}}/pause",
        "Stop a job and keep what came. Harmless when it is paused.",
        body=(),
        errors=("job_not_found", "invalid_state"),
        **_ABOUT_JOB,
    ),
    Operation(
        "resumeDownload",
        "POST",
        f"{_ROOT}/{{job_id}}/resume",
        "Let a paused job go on. Harmless when it runs.",
        body=(),
        errors=("job_not_found", "invalid_state"),
        **_ABOUT_JOB,
    ),
    Operation(
        "cancelDownload",
        "DELETE",
        f"{_ROOT}/{{job_id}}",
        "End a job as failed, with the error `cancelled`. Harmless when it is cancelled.",
        query=(
            Field(
                "delete_partial",
                "boolean",
                "Whether to remove what came; without it a later job goes on from there.",
            ),
        ),
        errors=("job_not_found", "invalid_state", "storage_error"),
        **_ABOUT_JOB,
    ),
    Operation("openapi", "GET", "/openapi.json", "This document.", "Document"),
)

# Paths without fields come first, so that "events" is not taken for the id of a job.
PATHS: tuple[str, ...] = tuple(
    sorted({one.path for one in OPERATIONS}, key=lambda p: ("{" in p, p))
)
_PATTERNS = {
    path: re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path))) for path in PATHS
}


def methods_of(path: str) -> list[str]:
    """Return the methods that some operation with this path has, with HEAD and OPTIONS."""
    fitting = {one.method for one in OPERATIONS if _PATTERNS[one.path].fullmatch(path)}
    if not fitting:
        return []
    return sorted(fitting | {"OPTIONS"} | ({"HEAD"} if "GET" in fitting else set()))


def find(method: str, path: str) -> tuple[Operation, dict[str, str]]:
    """Return the operation of a request, and the fields of its path; HEAD is like GET.

    Raises:
        Problem: There is none; the text is LM Studio's.
    """
    wanted = "GET" if method == "HEAD" else method
    for known in PATHS:
        match = _PATTERNS[known].fullmatch(path)
        for one in OPERATIONS:
            if match is not None and (one.path, one.method) == (known, wanted):
                return one, match.groupdict()
    # Quoted, so that nothing of the caller's can pass for a line of a log or a terminal's command.
    shown = f"{quote(method[:20])} {quote(path[:200], errors='replace')}"
    allowed = methods_of(path)
    raise Problem(
        405 if allowed else 404,
        "invalid_request",
        f"Unexpected endpoint or method. ({shown})",
        code="unexpected_endpoint",
        headers={"Allow": ", ".join(allowed)} if allowed else None,
    )
