"""The OpenAPI 3.1 document, made from the table that requests are answered by."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from modelfetch._version import __version__
from modelfetch.status import JobState
from modelfetch.web.fields import Field
from modelfetch.web.table import JOB_ID, JOB_STATES, OPERATIONS, STATUSES, Operation

__all__ = ["document"]

_TIME = {"type": "string", "format": "date-time", "examples": ["2025-10-03T15:33:23.496Z"]}
_BYTES = {"type": "integer", "minimum": 0}
_JOB_FIELDS: dict[str, dict[str, Any]] = {
    "job_id": {"type": "string", "pattern": JOB_ID},
    "total_size_bytes": _BYTES,
    "downloaded_bytes": _BYTES,
    "started_at": _TIME,
    "bytes_per_second": {"type": "number", "minimum": 0},
    "estimated_completion": _TIME,
    "completed_at": _TIME,
    "error": {"$ref": "#/components/schemas/ErrorObject"},
}
_ERROR_OBJECT = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("type", "message", "code", "param")},
    "required": ["type", "message"],
    "additionalProperties": False,
}
# What any operation may answer with, whatever it does.
_ALWAYS = ("invalid_request", "access_denied", "internal_error")
_WITH_BODY = {408: "The body did not arrive.", 413: "Too large.", 415: "Not JSON."}
_WAITING = ("unavailable", "timeout")


def document(root: str = "", *, has_token: bool = False) -> dict[str, Any]:
    """Return the document.

    Args:
        root: Where the API is mounted.
        has_token: Whether callers need the API token.
    """
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for operation in OPERATIONS:
        paths[operation.path][operation.method.lower()] = _operation(operation, has_token)
    components: dict[str, Any] = {"schemas": _schemas()}
    whole: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "modelfetch",
            "version": __version__,
            "summary": "Downloads models: LM Studio's download API, and what it lacks.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": root or "/"}],
        "paths": dict(paths),
        "components": components,
    }
    if has_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        whole["security"] = [{"token": []}]
    return whole


def _operation(operation: Operation, has_token: bool) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": {"200": _answer(operation.answer)} | _errors(operation, has_token),
    }
    parameters = [
        *(_parameter(one, "path") for one in operation.in_path),
        *(_parameter(one, "query") for one in operation.query),
    ]
    if operation.answer == "text/event-stream":
        parameters.append(_LAST_EVENT_ID)
        described["responses"]["204"] = {"description": "The job is over, and the reader knows."}
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _body(operation.body)}},
        }
    return described


def _parameter(one: Field, where: str) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": one.name,
        "in": where,
        "required": one.required,
        "description": one.description,
        "schema": one.schema(),
    }
    if one.example is not None:
        described["example"] = one.example
    return described


_LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The `id` of the last event that the reader got.",
    "schema": {"type": "string"},
}


def _body(fields: tuple[Field, ...]) -> dict[str, Any]:
    properties = {}
    for one in fields:
        properties[one.name] = {
            **one.schema(nullable=not one.required),
            "description": one.description,
        }
        if one.example is not None:
            properties[one.name]["examples"] = [one.example]
    return {
        "type": "object",
        "properties": properties,
        "required": [one.name for one in fields if one.required],
        "additionalProperties": False,
    }


def _answer(answer: str) -> dict[str, Any]:
    if answer == "text/event-stream":
        text = (
            "Events `status`: `data` is a Job, `id` its sequence number. How things are now comes "
            "first; the stream of one job ends after its last event."
        )
        return {"description": text, "content": {answer: {"schema": {"type": "string"}}}}
    schema = {"$ref": f"#/components/schemas/{answer}"}
    return {"description": answer, "content": {"application/json": {"schema": schema}}}


def _errors(operation: Operation, has_token: bool) -> dict[str, Any]:
    kinds = [*_ALWAYS, *operation.errors, *(_WAITING if operation.answer != "Document" else ())]
    if has_token:
        kinds.append("unauthorized")
    texts: dict[int, list[str]] = defaultdict(list)
    for kind in dict.fromkeys(kinds):
        texts[STATUSES[kind]].append(f"`{kind}`")
    if operation.body is not None:
        for status, text in _WITH_BODY.items():
            texts[status].append(text)
    schema = {"$ref": "#/components/schemas/Error"}
    return {
        str(status): {
            "description": ", ".join(words),
            "content": {"application/json": {"schema": schema}},
        }
        for status, words in sorted(texts.items())
    }


def _schemas() -> dict[str, Any]:
    states = {f"Job_{state.value}": _state(state) for state in JobState}
    refs = {state: {"$ref": f"#/components/schemas/Job_{state.value}"} for state in JobState}
    with_id = [ref for state, ref in refs.items() if state is not JobState.ALREADY_DOWNLOADED]
    job = {"$ref": "#/components/schemas/Job"}
    return {
        **states,
        "Job": {"oneOf": with_id},
        "DownloadResponse": {"oneOf": list(refs.values())},
        "Jobs": {
            "type": "object",
            "properties": {"jobs": {"type": "array", "items": job}},
            "required": ["jobs"],
            "additionalProperties": False,
        },
        "ErrorObject": _ERROR_OBJECT,
        "Error": {
            "type": "object",
            "properties": {"error": {"$ref": "#/components/schemas/ErrorObject"}},
            "required": ["error"],
            "additionalProperties": False,
        },
        "Document": {"type": "object"},
    }


def _state(state: JobState) -> dict[str, Any]:
    always, sometimes = JOB_STATES[state]
    fields = {name: _JOB_FIELDS[name] for name in (*always, *sometimes)}
    return {
        "type": "object",
        "properties": {"status": {"const": state.value}, **fields},
        "required": ["status", *always],
        "additionalProperties": False,
    }
