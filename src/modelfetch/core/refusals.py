"""What a refusal of the Hub means: status and headers to a typed error.

The Hub says 401 for a repository that does not exist, and names the cause in X-Error-Code or, for a
bad token, only in X-Error-Message. The rules are huggingface_hub's `hf_raise_for_status`, which
knows its own responses only; ours come from two HTTP libraries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from modelfetch.core.retry import retry_after
from modelfetch.errors import (
    AccessDenied,
    GatedModel,
    HubUnavailable,
    InvalidToken,
    ModelFetchError,
    ModelNotFound,
    NetworkError,
    RateLimited,
    RevisionNotFound,
)

__all__ = ["refusal", "refused_by_proxy"]

Refused = TypeVar("Refused", HubUnavailable, NetworkError)

_REQUEST_IDS = ("X-Request-Id", "X-Amz-Cf-Id")
_BAD_TOKEN = "Invalid credentials in Authorization header"


def refusal(
    status: int, headers: Mapping[str, str], host: str, repo: str, revision: str, now: float
) -> ModelFetchError:
    """Return the typed error for an answer of the Hub that is not a success.

    Args:
        status: Status code.
        headers: Fields of the answer; lookup must ignore case.
        host: `host[:port]` that answered.
        repo: `owner/name` that was asked about.
        revision: Revision that was asked about.
        now: Seconds since the epoch.
    """
    kind, message, hint = _meaning(status, headers, repo, revision)
    request_id = next((headers[name] for name in _REQUEST_IDS if name in headers), None)
    error = kind(message, hint=hint, host=host, status=status, request_id=_plain(request_id or ""))
    if isinstance(error, RateLimited):
        error.retry_after = retry_after(headers, now)
    return error


def refused_by_proxy(kind: type[Refused], status: int | None, proxy: str, host: str) -> Refused:
    """Return the error for a proxy that does not lead on.

    Args:
        kind: Type of the error.
        status: What the proxy said, `None` when that is not known.
        proxy: `host[:port]` of the proxy.
        host: `host[:port]` that it was asked for.
    """
    # Its answer will be the same next time, unless it is itself in trouble.
    is_final = status is not None and status < 500 and status not in (408, 425, 429)
    hint = "Check HTTPS_PROXY, NO_PROXY or the proxy setting."
    if status == 407:
        hint = "Give its user and password: http://user:password@proxy.example:3128."
    error = kind(f"The proxy does not lead to {host}.", hint=hint, host=proxy, status=status)
    error.is_final, error.code = is_final, "proxy"
    return error


def _meaning(
    status: int, headers: Mapping[str, str], repo: str, revision: str
) -> tuple[type[ModelFetchError], str, str | None]:
    code, said = headers.get("X-Error-Code", ""), headers.get("X-Error-Message", "")
    if status == 429:
        hint = "Wait, or use a token: signed-in users have a higher limit."
        return RateLimited, "The Hub asks to slow down.", hint
    if code == "GatedRepo":
        hint = (
            f"Accept its terms at https://huggingface.co/{repo} and give a token of that account "
            "(HF_TOKEN or --token)."
        )
        return GatedModel, f"{repo} is gated.", hint
    if code == "RevisionNotFound":
        hint = "Name a branch, a tag, refs/pr/N or a commit; leave it out for main."
        return RevisionNotFound, f"{repo} has no revision {revision!r}.", hint
    if said == _BAD_TOKEN:
        hint = "Make a new one at https://huggingface.co/settings/tokens, or use none."
        return InvalidToken, "The Hub does not accept the token.", hint
    if status in (401, 404) or code == "RepoNotFound":
        hint = "Check the spelling; for a private model give a token that may read it."
        return ModelNotFound, f"There is no model {repo} on the Hub, or it is private.", hint
    if status == 403:
        return AccessDenied, f"The Hub refuses access to {repo}. {_plain(said)}".rstrip(), None
    if status >= 500:
        return HubUnavailable, "The Hub has a fault.", "Try again in a while."
    return HubUnavailable, f"The Hub refused the request. {_plain(said)}".rstrip(), None


def _plain(text: str) -> str:
    # What a server says ends up in logs and terminals: short, and without control characters.
    return "".join(char for char in text[:200] if char.isprintable())
