"""How the HTTP API behaves."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from modelfetch.errors import InvalidConfiguration

__all__ = ["WebConfig"]


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """Settings of the HTTP API. Every field has a default.

    Attributes:
        api_token: What callers must send as `Authorization: Bearer …`; `None` for no check. It has
            nothing to do with the token for the Hub.
        allowed_hosts: Names by which this server may be called over loopback, besides `localhost`
            and loopback addresses; `*` for any. Anything else there is a web page that had its own
            name point to this machine (DNS rebinding).
        allow_origins: Origins of web pages whose scripts may use the API, such as
            `https://app.example`; `*` for any. None by default.
        max_body_bytes: Bound on the body of a request.
        request_timeout: Seconds for a body to arrive, and for the answer; does not bound a stream
            of events.
        heartbeat_seconds: Longest silence in a stream of events; then comes a comment.

    Raises:
        InvalidConfiguration: A setting cannot work.
    """

    api_token: str | None = field(default=None, repr=False)
    allowed_hosts: Collection[str] = ()
    allow_origins: Collection[str] = ()
    max_body_bytes: int = 64 << 10
    request_timeout: float = 60.0
    heartbeat_seconds: float = 15.0

    def __post_init__(self) -> None:
        for name in ("allowed_hosts", "allow_origins"):
            given = getattr(self, name)
            if isinstance(given, str):
                raise InvalidConfiguration(f"{name} is one text; it must be a list of them.")
            object.__setattr__(self, name, frozenset(text.strip().lower() for text in given))
        if self.api_token is not None and not _is_token(self.api_token):
            raise InvalidConfiguration(
                "The API token is empty, or has characters that no header can carry.",
                hint="Use letters and digits; `openssl rand -hex 32` makes a good one.",
            )
        if min(self.max_body_bytes, self.request_timeout, self.heartbeat_seconds) <= 0:
            raise InvalidConfiguration("Bounds of the HTTP API must be above zero.")


def _is_token(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text
