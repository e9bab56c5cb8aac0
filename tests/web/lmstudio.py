"""LM Studio's documentation of its job objects, as JSON schemas, and its own examples.

Written from 1_developer/2_rest/download.md and download-status.md of lmstudio-ai/docs, and not from
our code: https://lmstudio.ai/docs/developer/rest/download. `error` is our one addition.
"""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}
BYTES = {"type": "integer", "minimum": 0}
FIELDS: dict[str, Any] = {
    "job_id": {"type": "string", "pattern": "^job_[0-9a-f]{10}$"},
    "status": {"enum": ["downloading", "paused", "completed", "failed", "already_downloaded"]},
    "bytes_per_second": {"type": "number", "minimum": 0},
    "estimated_completion": TIME,
    "completed_at": TIME,
    "total_size_bytes": BYTES,
    "downloaded_bytes": BYTES,
    "started_at": TIME,
    "error": {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("type", "message", "code", "param")},
        "required": ["type", "message"],
        "additionalProperties": False,
    },
}


def _only_when(status: str, field: str, *, always: bool) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "if": {"properties": {"status": {"const": status}}},
        "else": {"not": {"required": [field]}},
    }
    return {**rule, "then": {"required": [field]}} if always else rule


def _absent_when_already_downloaded(field: str) -> dict[str, Any]:
    return {
        "if": {"properties": {"status": {"const": "already_downloaded"}}},
        "then": {"not": {"required": [field]}},
        "else": {"required": [field]},
    }


DOWNLOAD_RESPONSE: dict[str, Any] = {
    "type": "object",
    "properties": FIELDS,
    "required": ["status"],
    "additionalProperties": False,
    "allOf": [
        _only_when("downloading", "bytes_per_second", always=True),
        # "Present when downloading": when there is something to estimate from.
        _only_when("downloading", "estimated_completion", always=False),
        _only_when("completed", "completed_at", always=True),
        _only_when("failed", "error", always=True),
        *(
            _absent_when_already_downloaded(field)
            for field in ("job_id", "total_size_bytes", "downloaded_bytes", "started_at")
        ),
    ],
}
STATUS_RESPONSE: dict[str, Any] = {
    **DOWNLOAD_RESPONSE,
    "properties": {
        **FIELDS,
        "status": {"enum": ["downloading", "paused", "completed", "failed"]},
    },
    "required": ["job_id", "status"],
}

# The documentation's own answers. The first is of a version that left some fields out.
EXAMPLES: list[dict[str, Any]] = [
    {
        "job_id": "job_493c7c9ded",
        "status": "downloading",
        "total_size_bytes": 2279145003,
        "downloaded_bytes": 948,
        "bytes_per_second": 7834.710743801653,
        "estimated_completion": "2025-10-07T00:21:47.030Z",
        "started_at": "2025-10-03T15:33:23.496Z",
    },
    {
        "job_id": "job_493c7c9ded",
        "status": "completed",
        "total_size_bytes": 2279145003,
        "downloaded_bytes": 2279145003,
        "started_at": "2025-10-03T15:33:23.496Z",
        "completed_at": "2025-10-03T15:43:12.102Z",
    },
    {
        "job_id": "job_222ebe6763",
        "downloaded_bytes": 12028808,
        "total_size_bytes": 22256526743,
        "started_at": "2025-10-06T18:43:53.605Z",
        "status": "paused",
    },
]

_DOWNLOAD = Draft202012Validator(DOWNLOAD_RESPONSE)
_STATUS = Draft202012Validator(STATUS_RESPONSE)


def check_download(answer: Any) -> None:
    """Check an answer to POST /api/v1/models/download."""
    _DOWNLOAD.validate(answer)


def check_status(answer: Any) -> None:
    """Check an answer to GET /api/v1/models/download/status/:job_id, and every other job object."""
    _STATUS.validate(answer)
