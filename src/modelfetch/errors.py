"""Everything that modelfetch raises on purpose.

    ModelFetchError
    |-- InvalidReference (ValueError)      what was typed is not a model reference
    |-- InvalidConfiguration (ValueError)  a setting that cannot work
    |-- ModelNotFound                      huggingface_hub: RepositoryNotFoundError
    |-- RevisionNotFound                   huggingface_hub: RevisionNotFoundError
    |-- QuantizationNotFound               carries the labels there are, with sizes
    |-- AmbiguousQuantization              carries the candidates
    |-- IncompleteModel                    a shard is missing upstream
    |-- InsufficientMemory                 no build fits; carries what the smallest needs
    |-- AccessDenied                       the Hub knows the model and refuses
    |   |-- GatedModel                     huggingface_hub: GatedRepoError
    |   `-- InvalidToken                   the Hub does not accept the token
    |-- HubUnavailable (ConnectionError)   no usable answer from the Hub
    |   |-- RateLimited                    carries the seconds to wait
    |   `-- Offline                        huggingface_hub: OfflineModeIsEnabled
    |-- NetworkError (ConnectionError)     the transfer could not go on
    |-- IntegrityError                     the bytes are not what the Hub published
    |-- UnusableModel                      what the Hub published is of no use
    |-- StorageError (OSError)             the disk said no
    |   `-- InsufficientSpace              carries bytes needed and bytes free
    |-- JobNotFound (LookupError)
    |-- InvalidState                       this job cannot do that now
    `-- JobCancelled                       somebody cancelled the job

Each error has a `message` (what happened), a `hint` (what to do) and the fields that say where:
`host`, `status`, `request_id`, `path`. No field ever holds a token or a signed URL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from modelfetch.wording import human_size, listing

__all__ = [
    "ModelFetchError", "InvalidReference", "InvalidConfiguration", "ModelNotFound",
    "RevisionNotFound", "QuantizationNotFound", "AmbiguousQuantization", "IncompleteModel",
    "InsufficientMemory", "AccessDenied", "GatedModel", "InvalidToken", "HubUnavailable",
    "RateLimited", "Offline", "NetworkError", "IntegrityError", "UnusableModel", "StorageError",
    "InsufficientSpace", "JobNotFound", "InvalidState", "JobCancelled", "Variant"]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Variant:
    """One build of a model that a repository offers.

    Attributes:
        label: What to type to get it, such as `Q4_K_M` or a file name.
        size_bytes: Sum over the files of the build.
    """

    label: str
    size_bytes: int


class ModelFetchError(Exception):
    """Base of all errors of modelfetch.

    Args:
        message: What happened, in one sentence.
        hint: What the user can do about it.
        host: `host[:port]` that answered, when a server was involved.
        status: HTTP status of that answer.
        request_id: The server's own id of the request, for its support.
        path: The file, local or in the repository, that this is about.

    Attributes:
        kind: The `type` on the wire: `{"error": {"type": kind, "message": ...}}`.
        code: A finer word than `kind`, for some; `proxy` when a proxy is the cause.
        param: The field of the request that is wrong, for some.
        is_final: Whether asking again is known not to help.
    """

    kind: ClassVar[str] = "internal_error"
    code: str | None = None
    param: ClassVar[str | None] = None
    is_final: bool = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        host: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        path: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.host = host
        self.status = status
        self.request_id = request_id
        self.path = path

    def __str__(self) -> str:
        status = f"HTTP {self.status}" if self.status is not None else None
        request = f"request {self.request_id}" if self.request_id else None
        where = [text for text in (self.host, status, request) if text]
        told = self.message + (f" ({', '.join(where)})" if where else "")
        return f"{told} {self.hint}" if self.hint else told

    def to_dict(self) -> dict[str, str]:
        """Return the wire form `{"type", "message", "code"?, "param"?}`."""
        wire = {"type": self.kind, "message": str(self), "code": self.code, "param": self.param}
        return {name: text for name, text in wire.items() if text is not None}


class InvalidReference(ModelFetchError, ValueError):
    """The text is not a model reference; the message says what was understood."""

    kind = "invalid_request"
    param = "model"


class InvalidConfiguration(ModelFetchError, ValueError):
    """A setting cannot work, such as an endpoint that is not http(s)."""

    kind = "invalid_request"


class ModelNotFound(ModelFetchError):
    """No such model: unknown, hidden from this token, or without GGUF files.

    `conversions` names repositories that have it as GGUF, best publisher first.
    """

    kind = "model_not_found"
    conversions: tuple[str, ...] = ()


class RevisionNotFound(ModelFetchError):
    """The repository has no such branch, tag, pull request or commit."""

    kind = "model_not_found"


class QuantizationNotFound(ModelFetchError):
    """The repository has no such quantization.

    Attributes:
        requested: What was asked for.
        available: What there is, nearest first.
    """

    kind = "quantization_not_found"
    param = "quantization"

    def __init__(self, requested: str, available: Sequence[Variant], message: str) -> None:
        super().__init__(message, hint=_listing("Available", available))
        self.requested = requested
        self.available = tuple(available)


class AmbiguousQuantization(ModelFetchError):
    """More than one build answers to the request.

    Attributes:
        requested: What was asked for, `None` when nothing was.
        candidates: The builds, each with what to type to get exactly it.
    """

    kind = "ambiguous_quantization"
    param = "quantization"

    def __init__(self, requested: str | None, candidates: Sequence[Variant], message: str) -> None:
        super().__init__(message, hint=_listing("Say which", candidates))
        self.requested = requested
        self.candidates = tuple(candidates)


class IncompleteModel(ModelFetchError):
    """The repository lacks a part of a split model.

    Attributes:
        missing: Paths of the parts that are not there.
    """

    kind = "model_not_found"
    code = "incomplete_model"

    def __init__(self, message: str, missing: Sequence[str]) -> None:
        super().__init__(message, hint="Ask the publisher, or choose another quantization.")
        self.missing = tuple(missing)


class InsufficientMemory(ModelFetchError):
    """No build fits: the smallest needs `needed_bytes`, and there are `available_bytes`."""

    kind = "insufficient_memory"
    param = "quantization"
    needed_bytes: int | None = None
    available_bytes: int | None = None


class AccessDenied(ModelFetchError):
    """The Hub knows the model and does not give it to this user."""

    kind = "access_denied"


class GatedModel(AccessDenied):
    """The model asks its users to accept its terms on the Hub first."""


class InvalidToken(AccessDenied):
    """The Hub does not accept the token."""

    kind = "unauthorized"


class HubUnavailable(ModelFetchError, ConnectionError):
    """The Hub gave no answer, or none that makes sense."""

    kind = "hub_unavailable"


class RateLimited(HubUnavailable):
    """The Hub asks to wait.

    `retry_after` is the seconds to wait, `None` when the Hub did not say.
    """

    kind = "rate_limited"
    retry_after: float | None = None


class Offline(HubUnavailable):
    """Offline mode is on and the model is not complete in the cache."""


class NetworkError(ModelFetchError, ConnectionError):
    """The transfer could not go on; what was received is kept."""

    kind = "network_error"


class IntegrityError(ModelFetchError):
    """The bytes received are not the bytes that the Hub published.

    Attributes:
        expected: The published hash.
        actual: The hash of what arrived.
    """

    kind = "integrity_error"
    expected: str | None = None
    actual: str | None = None


class UnusableModel(ModelFetchError):
    """No llama.cpp here could load what the Hub published; found before most of it was fetched.

    `code` says why: `not_gguf`, `truncated`, `byte_order` or `wrong_shard`.
    """

    kind = "unusable_model"


class StorageError(ModelFetchError, OSError):
    """The file system refused; `path` says where."""

    kind = "storage_error"


class InsufficientSpace(StorageError):
    """The disk has `free_bytes` for this user, and `needed_bytes` are still needed."""

    kind = "insufficient_space"
    needed_bytes: int | None = None
    free_bytes: int | None = None


class JobNotFound(ModelFetchError, LookupError):
    """There is no job with that id."""

    kind = "job_not_found"


class InvalidState(ModelFetchError):
    """The job is in a state in which this makes no sense."""

    kind = "invalid_state"


class JobCancelled(ModelFetchError):
    """Somebody cancelled the job."""

    kind = "cancelled"


def _listing(lead: str, variants: Sequence[Variant]) -> str | None:
    return listing(lead, [f"{v.label} ({human_size(v.size_bytes)})" for v in variants])
