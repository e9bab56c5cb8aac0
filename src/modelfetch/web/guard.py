"""Who may call, and from which web pages."""

from __future__ import annotations

import hmac
import re

from modelfetch.core.origins import is_loopback
from modelfetch.web.messages import Problem, Request
from modelfetch.web.settings import WebConfig

__all__ = ["cors_headers", "must_be_allowed", "must_be_json", "must_be_local"]

_REQUEST_HEADERS = "Authorization, Content-Type, Last-Event-ID"
_PREFLIGHT_SECONDS = "600"


def must_be_local(request: Request, config: WebConfig) -> None:
    """Refuse a call over loopback that names another host: a page that rebound its own name.

    Raises:
        Problem: With status 403.
    """
    if request.local_address is None or not is_loopback(request.local_address):
        return
    host = _host_name(request.header("host") or "")
    allowed = config.allowed_hosts
    if host == "localhost" or is_loopback(host) or host in allowed or "*" in allowed:
        return
    raise Problem(
        403,
        "access_denied",
        "This server answers to localhost only. Its owner can allow more names (allowed_hosts).",
        code="forbidden_host",
    )


def must_be_allowed(request: Request, config: WebConfig) -> None:
    """Refuse a call without the configured token.

    Raises:
        Problem: With status 401.
    """
    if config.api_token is None:
        return
    scheme, _, token = (request.header("authorization") or "").partition(" ")
    given = token.strip().encode(errors="replace")
    # In constant time: how long a comparison takes must not tell how much of the token is right.
    is_right = hmac.compare_digest(given, config.api_token.encode())
    if scheme.lower() != "bearer" or not is_right:
        raise Problem(
            401,
            "unauthorized",
            "This server needs its API token: 'Authorization: Bearer <token>'.",
            headers={"WWW-Authenticate": "Bearer"},
        )


def must_be_json(request: Request) -> None:
    """Refuse what a form, or a script of any web page, could send without asking first.

    Raises:
        Problem: With status 415.
    """
    kind, *parameters = (request.header("content-type") or "").lower().split(";")
    charset = {text.strip() for text in parameters if text.strip()}
    is_utf8 = charset <= {"charset=utf-8", 'charset="utf-8"'}
    is_plain = (request.header("content-encoding") or "identity").lower() == "identity"
    if kind.strip() != "application/json" or not is_utf8 or not is_plain:
        raise Problem(
            415,
            "invalid_request",
            "The request must have 'Content-Type: application/json'.",
            code="unsupported_media_type",
        )


def cors_headers(request: Request, config: WebConfig, methods: list[str]) -> dict[str, str]:
    """Return what lets the script of an allowed origin read the answer, or ask before a call."""
    origin = request.header("origin")
    if not config.allow_origins:
        return {}
    headers = {"Vary": "Origin"}
    if origin is None or not {origin.lower(), "*"} & set(config.allow_origins):
        return headers
    # The configured text is sent back, never the caller's: nothing of his gets into a header.
    headers["Access-Control-Allow-Origin"] = "*" if "*" in config.allow_origins else origin.lower()
    if request.method == "OPTIONS":
        headers["Access-Control-Allow-Methods"] = ", ".join(methods)
        headers["Access-Control-Allow-Headers"] = _REQUEST_HEADERS
        headers["Access-Control-Max-Age"] = _PREFLIGHT_SECONDS
    return headers


def _host_name(header: str) -> str:
    """Return the name or address in a Host header (RFC 9110 section 7.2), without the port."""
    text = header.strip().lower()
    if text.startswith("["):
        name, _, rest = text[1:].partition("]")
    else:
        name, _, rest = text.partition(":")
        rest = f":{rest}" if rest else ""
    if rest and not re.fullmatch(r":[0-9]*", rest):
        return ""
    return name.removesuffix(".")
