"""The nouns that every layer shares: spans, files, plans, models. No behaviour with effects."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

__all__ = [
    "Span",
    "FileRole",
    "RemoteFile",
    "Snapshot",
    "PlannedFile",
    "ResolvedBy",
    "Plan",
    "LocalFile",
    "LocalModel",
    "ModelMetadata",
]


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A half-open range of byte offsets `[start, stop)`.

    Only `core.ranges` turns it into HTTP's inclusive form.
    """

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise ValueError(f"not a span: [{self.start}, {self.stop})")

    @property
    def size(self) -> int:
        """Number of bytes in the span."""
        return self.stop - self.start

    def __contains__(self, offset: object) -> bool:
        return isinstance(offset, int) and self.start <= offset < self.stop

    def __str__(self) -> str:
        return f"[{self.start}, {self.stop})"


class FileRole(StrEnum):
    """What a file of a repository is for.

    Only `MODEL`, `BYTE_PART` and `MMPROJ` files are ever part of a plan.
    """

    MODEL = "model"
    MMPROJ = "mmproj"
    DRAFTER = "drafter"
    IMATRIX = "imatrix"
    LORA = "lora"
    VOCAB = "vocab"
    BIG_ENDIAN = "big_endian"
    BYTE_PART = "byte_part"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    r"""A file as the Hub lists it at one commit.

    Attributes:
        path: Path in the repository, with `/`.
        size_bytes: Size of the content.
        sha256: SHA-256 of the content, for files in large-file storage; `None` for plain git files.
        git_oid: Git's blob id, which for plain git files is SHA-1 over `blob <size>\0<content>`.
    """

    path: str
    size_bytes: int
    sha256: str | None
    git_oid: str | None = None

    @property
    def blob_name(self) -> str:
        """Name in the cache's `blobs/`: the SHA-256, else the git id (huggingface_hub's rule)."""
        name = self.sha256 or self.git_oid
        if name is None:
            raise ValueError(f"{self.path} has no published hash")
        return name


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of a repository at one commit.

    Attributes:
        repo: `owner/name`.
        revision: What was asked for: a branch, tag, `refs/pr/N` or commit.
        commit: The commit that this is, 40 hex digits.
        files: Every file there, in the Hub's order.
        from_cache: True when the Hub was not asked, and `files` holds only what is on disk.
        hub_id: What the Hub itself calls the repository, which differs from `repo` in case, or
            altogether after it was renamed; `None` when it did not say.
        metadata: What the Hub read in the head of a GGUF file; `None` when it says nothing.
    """

    repo: str
    revision: str
    commit: str
    files: tuple[RemoteFile, ...]
    from_cache: bool = False
    hub_id: str | None = None
    metadata: ModelMetadata | None = None


@dataclass(frozen=True, slots=True)
class PlannedFile(RemoteFile):
    """A file that a plan fetches, with its role in the model."""

    role: FileRole = FileRole.MODEL


class ResolvedBy(StrEnum):
    """Who said which repository is meant."""

    REPOSITORY = "repository"
    """Nobody had to: it is the repository that was named."""
    USER_CATALOG = "user_catalog"
    """The user's own catalogue (the setting `catalog`)."""
    LM_STUDIO = "lm_studio"
    """What LM Studio has written down on this machine."""
    BUILT_IN = "built_in"
    """The table that comes with modelfetch."""
    HUB_SEARCH = "hub_search"
    """The one repository of lmstudio-community that is called so."""
    CONVERSION = "conversion"
    """A conversion of the repository that was named, which has no GGUF files itself."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request comes down to; nothing is downloaded to know it.

    Attributes:
        repo: `owner/name` on the Hub.
        revision: The revision that was asked for.
        commit: The commit that it names now; every later request uses it.
        quantization: Label of the build, such as `Q4_K_M`; `None` when the name does not tell.
        rule: Which rule chose the build, in words; and the repository, when that is not the one
            that was named.
        files: What will be fetched; model files first, in order of their shards.
        joined_path: Path that the model gets when its byte parts are joined; `None` for one that
            is published whole or in shards.
        resolved_by: Who said that this repository is meant.
        metadata: What the Hub says of the model; `None` when it says nothing. What the files
            themselves say is in `Job.metadata`.
    """

    repo: str
    revision: str
    commit: str
    quantization: str | None
    rule: str
    files: tuple[PlannedFile, ...]
    joined_path: str | None = None
    resolved_by: ResolvedBy = ResolvedBy.REPOSITORY
    metadata: ModelMetadata | None = None

    @property
    def total_size_bytes(self) -> int:
        """Sum over all files."""
        return sum(file.size_bytes for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form that `modelfetch plan --json` prints."""
        return {
            "repo": self.repo,
            "commit": self.commit,
            "quantization": self.quantization,
            "rule": self.rule,
            "total_size_bytes": self.total_size_bytes,
            "files": [
                {
                    "path": file.path,
                    "size_bytes": file.size_bytes,
                    "sha256": file.sha256,
                    "role": file.role.value,
                }
                for file in self.files
            ],
        }


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a model says of itself; each may be `None` when it does not.

    Attributes:
        architecture: As llama.cpp calls it, such as `qwen3`.
        name: For people, such as `Qwen3 4B Instruct 2507`.
        parameter_count: Weights of all its shards; `None` while the heads of some are not known.
        context_length: Tokens that it was made for.
        file_type: Quantization of most of its tensors, such as `Q4_K_M`: a hint, mixed builds
            carry that of their base.
    """

    architecture: str | None = None
    name: str | None = None
    parameter_count: int | None = None
    context_length: int | None = None
    file_type: str | None = None


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A verified file on disk.

    Attributes:
        path: Where it is: the snapshot's link, with the name that it has in the repository.
        size_bytes: Size of the content.
        sha256: SHA-256 of the content; `None` for plain git files.
        role: Its role in the model.
    """

    path: Path
    size_bytes: int
    sha256: str | None
    role: FileRole


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A complete model on disk.

    Attributes:
        repo: `owner/name` on the Hub.
        commit: The commit that it was fetched at.
        quantization: Label of the build, `None` when the name does not tell.
        files: All files, model files first.
        metadata: What it says of itself; `None` when that cannot be read.
    """

    repo: str
    commit: str
    quantization: str | None
    files: tuple[LocalFile, ...]
    metadata: ModelMetadata | None = None

    @property
    def path(self) -> Path:
        """The first GGUF file: what llama.cpp is given, for split models too."""
        return self.files[0].path

    @property
    def mmproj(self) -> Path | None:
        """The multimodal projector, if the model has one."""
        return next((file.path for file in self.files if file.role is FileRole.MMPROJ), None)

    @property
    def total_size_bytes(self) -> int:
        """Sum over all files."""
        return sum(file.size_bytes for file in self.files)

    def __fspath__(self) -> str:
        return str(self.path)
