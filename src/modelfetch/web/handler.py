"""From a request to an answer, whatever carries them."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from modelfetch.engine import Engine
from modelfetch.errors import InvalidState, ModelFetchError
from modelfetch.web import guard
from modelfetch.web.actions import Actions
from modelfetch.web.fields import read_json, read_query
from modelfetch.web.messages import Problem, Request, Response, error_response, json_response
from modelfetch.web.openapi import document
from modelfetch.web.settings import WebConfig
from modelfetch.web.streams import EventStreams
from modelfetch.web.table import Operation, find, methods_of
from modelfetch.web.wire import INTERNAL, problem_of

__all__ = ["Api"]

_log = logging.getLogger(__name__)

_T = TypeVar("_T")
_SEQUENCE = re.compile(r"[0-9]{1,18}")


class Api:
    """The HTTP API of one engine.

    Args:
        engine: Does the work; its owner opens and closes it.
        config: All settings; defaults when left out.
        **overrides: Fields of `WebConfig` that differ from it.

    Raises:
        InvalidConfiguration: A setting cannot work.
    """

    def __init__(self, engine: Engine, config: WebConfig | None = None, **overrides: Any) -> None:
        self.engine = engine
        self.config = replace(config, **overrides) if config else WebConfig(**overrides)
        self._actions = Actions(engine)
        self._streams = EventStreams(self.config.heartbeat_seconds)
        self._answers: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
            "downloadModel": self._actions.start,
            "listDownloads": self._actions.listing,
            "downloadStatus": self._actions.status,
            "pauseDownload": self._actions.pause,
            "resumeDownload": self._actions.resume,
            "cancelDownload": self._actions.cancel,
        }

    async def handle(self, request: Request) -> Response:
        """Answer a request; raises nothing but cancellation."""
        methods = methods_of(request.path)
        try:
            response = await self._guarded(request, methods)
        except Problem as problem:
            response = error_response(problem)
        except ModelFetchError as error:
            response = error_response(self._problem(error))
            if response.status >= 500:
                _log.warning("%r %r: %r", request.method, request.path, error)
        except Exception:
            _log.exception("%r %r failed", request.method, request.path)
            response = error_response(Problem(500, "internal_error", INTERNAL))
        try:
            response.headers |= guard.cors_headers(request, self.config, methods)
        except Problem as problem:  # a repeated Origin
            response = error_response(problem)
        return response

    def _problem(self, error: ModelFetchError) -> Problem:
        if isinstance(error, InvalidState) and not self.engine.is_open:
            return Problem(503, "unavailable", "The server is starting or stopping.")
        return problem_of(error)

    async def _guarded(self, request: Request, methods: list[str]) -> Response:
        guard.must_be_local(request, self.config)
        if request.method == "OPTIONS" and methods:
            # A browser asks this before a call, and cannot send the token with the question.
            return Response(204, headers={"Allow": ", ".join(methods)})
        guard.must_be_allowed(request, self.config)
        operation, in_path = find(request.method, request.path)
        given: dict[str, Any] = {**in_path, **read_query(request.query, operation.query)}
        if operation.body is not None:
            guard.must_be_json(request)
            body = await self._in_time(self._body(request), 408, "The body took too long.")
            given |= read_json(body, operation.body)
        return await self._answer(operation, request, given)

    async def _answer(
        self, operation: Operation, request: Request, given: dict[str, Any]
    ) -> Response:
        if operation.name == "downloadEvents":
            return await self._stream(request, **given)
        if operation.name == "openapi":
            return json_response(document(request.root, has_token=bool(self.config.api_token)))
        answer = self._answers[operation.name](**given)
        return json_response(await self._in_time(answer, 504, "The answer took too long."))

    async def _in_time(self, work: Awaitable[_T], status: int, text: str) -> _T:
        try:
            async with asyncio.timeout(self.config.request_timeout):
                return await work
        except TimeoutError:
            raise Problem(status, "timeout", text) from None

    async def _body(self, request: Request) -> bytes:
        limit = self.config.max_body_bytes
        too_large = Problem(
            413,
            "invalid_request",
            f"The body has more than {limit} bytes.",
            code="body_too_large",
        )
        declared = request.header("content-length") or "0"
        if declared.isdigit() and int(declared[:18]) > limit:
            raise too_large
        body = bytearray()
        async for piece in request.body:
            body += piece
            if len(body) > limit:
                raise too_large
        return bytes(body)

    async def _stream(self, request: Request, job_id: str | None = None) -> Response:
        # Read here, and not in the stream: an unknown job is a 404.
        current = None if job_id is None else await self._actions.current(job_id)
        last = request.header("last-event-id") or ""
        seen = int(last) if current is not None and _SEQUENCE.fullmatch(last) else None
        if current is not None and current.state.is_terminal and current.sequence == seen:
            # To a browser's EventSource this says: there is nothing more, do not come back.
            return Response(204)
        response = Response(200, headers={"Content-Type": "text/event-stream; charset=utf-8"})
        response.headers["X-Accel-Buffering"] = "no"  # nginx would keep the events for a while
        if request.method != "HEAD":
            response.events = self._streams.read(self._actions.statuses(job_id), seen)
        return response
