"""What a repository offers, what is on disk, and what fits: the answer of `Engine.variants`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from modelfetch.types import FileRole

__all__ = ["Fit", "ModelVariants", "Sidecar", "VariantInfo"]


class Fit(StrEnum):
    """Whether a build can be run in the memory there is; `core.fit` has the formula."""

    FITS = "fits"
    TIGHT = "tight"
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A GGUF file that is not a model.

    Attributes:
        path: Path in the repository.
        role: What it is for.
        size_bytes: Size of the content.
        downloaded_bytes: How much of it is on disk.
    """

    path: str
    role: FileRole
    size_bytes: int
    downloaded_bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "path": self.path,
            "role": self.role.value,
            "size_bytes": self.size_bytes,
            "downloaded_bytes": self.downloaded_bytes,
        }


@dataclass(frozen=True, slots=True)
class VariantInfo:
    """One build of a model.

    Attributes:
        selector: What to type to get exactly this build: `Q4_K_M`, or the path of a file.
        quantization: Such as `UD-Q4_K_XL`; `None` when no name tells.
        size_bytes: Sum over `paths`: the model without its sidecars.
        paths: The files of the model that the repository has, in order of its shards or parts.
        missing: Paths of the files that it should have and has not.
        joined_path: Path of the model when its byte parts are joined; `None` without such parts.
        bits_per_weight: What the label stands for; `None` when that is not known.
        sidecars: What is downloaded with the model: its projector.
        downloaded_bytes: How much of the model is on disk.
        needed_bytes: Memory that running it takes, with its sidecars; `None` when files are
            missing.
        fit: `None` when the memory or `needed_bytes` is not known.
        is_default: Whether a request without a quantization gets it.
        is_auto: Whether the quantization `auto` gets it.
    """

    selector: str
    quantization: str | None
    size_bytes: int
    paths: tuple[str, ...]
    missing: tuple[str, ...] = ()
    joined_path: str | None = None
    bits_per_weight: float | None = None
    sidecars: tuple[Sidecar, ...] = ()
    downloaded_bytes: int = 0
    needed_bytes: int | None = None
    fit: Fit | None = None
    is_default: bool = False
    is_auto: bool = False

    @property
    def is_complete(self) -> bool:
        """True when the repository has all files of it, as far as their names tell."""
        return not self.missing

    @property
    def downloaded_percent(self) -> int:
        """How much of the model is on disk, rounded down: 100 only for all of it."""
        percent = 100 * self.downloaded_bytes // self.size_bytes if self.size_bytes else 100
        return percent if self.is_complete else min(percent, 99)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "selector": self.selector,
            "quantization": self.quantization,
            "size_bytes": self.size_bytes,
            "paths": list(self.paths),
            "missing": list(self.missing),
            "joined_path": self.joined_path,
            "bits_per_weight": self.bits_per_weight,
            "sidecars": [sidecar.to_dict() for sidecar in self.sidecars],
            "downloaded_bytes": self.downloaded_bytes,
            "downloaded_percent": self.downloaded_percent,
            "needed_bytes": self.needed_bytes,
            "fit": None if self.fit is None else self.fit.value,
            "default": self.is_default,
            "auto": self.is_auto,
        }


@dataclass(frozen=True, slots=True)
class ModelVariants:
    """All builds that a repository offers at one commit.

    Attributes:
        repo: `owner/name` on the Hub.
        revision: The revision that was asked for.
        commit: The commit that it names now.
        variants: The builds, best quality first.
        default_rule: Why the default is the default, or why there is none.
        auto_rule: The same of `auto`.
        memory_bytes: The memory that `fit` is about; `None` when it is not known.
        others: GGUF files that are not models and come with none of them: drafters, adapters,
            importance matrices.
        from_cache: True when the Hub was not asked, and this is only what is on disk.
        resolution: Who said that this repository is meant, when it is not the one that was named.
    """

    repo: str
    revision: str
    commit: str
    variants: tuple[VariantInfo, ...]
    default_rule: str
    auto_rule: str
    memory_bytes: int | None = None
    others: tuple[Sidecar, ...] = ()
    from_cache: bool = False
    resolution: str | None = None

    @property
    def default(self) -> VariantInfo | None:
        """What a request without a quantization gets; `None` when it gets an error."""
        return next((variant for variant in self.variants if variant.is_default), None)

    @property
    def auto(self) -> VariantInfo | None:
        """What the quantization `auto` gets; `None` when it gets an error."""
        return next((variant for variant in self.variants if variant.is_auto), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form that `modelfetch quants --json` prints."""
        default, auto = self.default, self.auto
        return {
            "repo": self.repo,
            "revision": self.revision,
            "commit": self.commit,
            "from_cache": self.from_cache,
            "resolution": self.resolution,
            "memory_bytes": self.memory_bytes,
            "default": None if default is None else default.selector,
            "default_rule": self.default_rule,
            "auto": None if auto is None else auto.selector,
            "auto_rule": self.auto_rule,
            "variants": [variant.to_dict() for variant in self.variants],
            "others": [sidecar.to_dict() for sidecar in self.others],
        }
