"""Which files of a repository are the model that the user means.

`core.names` reads each name, `core.variants` makes builds of them, `core.select` finds the one that
was asked for. Here the answer is made: the files to fetch, with the projector, or an error that
says what there is. Nothing is ever fetched *instead* of what was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from modelfetch.core.labels import parse_label, quality
from modelfetch.core.names import read_name
from modelfetch.core.projectors import Projectors
from modelfetch.core.select import DEFAULTS, Match, default, find
from modelfetch.core.variants import Build, Entry, group, read_listing, variants
from modelfetch.errors import (
    AmbiguousQuantization,
    IncompleteModel,
    InvalidReference,
    ModelFetchError,
    ModelNotFound,
    QuantizationNotFound,
    Variant,
)
from modelfetch.types import FileRole, PlannedFile, RemoteFile

__all__ = [
    "AUTO",
    "Build",
    "Choice",
    "choose",
    "combine",
    "is_auto",
    "joined_path",
    "parts_of",
    "make_choice",
    "no_models",
    "pick",
    "variants",
]

AUTO = "auto"
"""The quantization that stands for what fits: see `core.auto`."""

_ROLES = {
    FileRole.MMPROJ: "a multimodal projector",
    FileRole.DRAFTER: "a drafter for speculative decoding",
    FileRole.IMATRIX: "an importance matrix",
    FileRole.LORA: "an adapter",
    FileRole.VOCAB: "a vocabulary",
    FileRole.BIG_ENDIAN: "a model for big-endian machines",
}


class Choice(NamedTuple):
    """The model that a request means.

    Attributes:
        quantization: Such as `UD-Q4_K_XL`; `None` when no name tells.
        rule: Which rule chose it, in words for the user.
        files: What to fetch: the model in order of its shards or parts, then the projector.
        joined_path: Path of the model when its byte parts are joined; `None` without such parts.
    """

    quantization: str | None
    rule: str
    files: tuple[PlannedFile, ...]
    joined_path: str | None = None


def is_auto(request: str | None) -> bool:
    """Return whether a request is for what fits."""
    return request is not None and request.strip().lower() == AUTO


def choose(
    files: Iterable[RemoteFile], request: str | None, *, include_mmproj: bool = True
) -> Choice:
    """Return the files that a request means.

    Args:
        files: Every file of the repository, in any order.
        request: A quantization (`Q4_K_M`, `ud-q4_k_xl`, `Q4_K_M-fp16`), a file by path or name, a
            folder, or `folder/quantization`; `core.select` has the rules. `None` for the default.
        include_mmproj: Whether a multimodal model's projector belongs to the model.

    Raises:
        QuantizationNotFound: There is nothing of that name.
        AmbiguousQuantization: Several builds fit equally well.
        IncompleteModel: A shard or part is missing upstream.
        ModelNotFound: Nothing was asked, and the repository has no GGUF models.
    """
    entries = read_listing(files)
    builds = group(entries)
    asked = request if request and request.strip() else None
    if not builds:
        raise no_models(entries, asked)
    match = default(builds) if asked is None else find(builds, asked)
    if match is None:
        raise _not_found(entries, builds, asked or "")
    return make_choice(entries, match, asked, include_mmproj=include_mmproj)


def make_choice(
    entries: Sequence[Entry], match: Match, asked: str | None, *, include_mmproj: bool
) -> Choice:
    """Return what fetching the one build of `match` comes down to; raises as `pick`.

    Args:
        entries: All GGUF files of the repository.
        match: What the request means.
        asked: The request, for messages.
        include_mmproj: Whether the projector belongs to it.
    """
    build = pick(match, asked)
    role = FileRole.BYTE_PART if build.byte_split else FileRole.MODEL
    chosen = [_plan(file, role) for file in build.files]
    projector = Projectors(entries).of(build) if include_mmproj else None
    if projector is not None:
        chosen.append(_plan(projector, FileRole.MMPROJ))
    label = None if build.quantization is None else str(build.quantization)
    if not build.byte_split:
        return Choice(label, match.rule, tuple(chosen))
    rule = f"{match.rule}; joined from {len(build.files)} parts"
    return Choice(label, rule, tuple(chosen), joined_path(build))


def combine(file: str | None, quantization: str | None) -> str | None:
    """Return the request for a file or folder of a repository and a quantization, where given.

    Args:
        file: Path of a file or folder, as in a link.
        quantization: What was asked for besides.

    Raises:
        InvalidReference: The file is another quantization than the one asked for.
    """
    if file is None:
        return quantization
    if read_name(file).role is FileRole.OTHER:
        return f"{file}/{quantization or ''}"  # a folder
    mine, asked = read_name(file).label, parse_label(quantization or "")
    if quantization and (asked is None or asked.label != mine):
        raise InvalidReference(
            f"{file} is {mine or 'of no known quantization'}, not {quantization}.",
            hint="Name the file or the quantization, not both.",
        )
    return file


def _plan(file: RemoteFile, role: FileRole) -> PlannedFile:
    return PlannedFile(file.path, file.size_bytes, file.sha256, file.git_oid, role=role)


def joined_path(build: Build) -> str:
    """Return the path that a build has when its byte parts are joined."""
    folder = f"{build.name.directory}/" if build.name.directory else ""
    return f"{folder}{build.name.stem}.gguf"


def parts_of(files: Iterable[RemoteFile], path: str) -> tuple[PlannedFile, ...]:
    """Return the byte parts that make the file at `path` when they are joined, if it is such.

    Args:
        files: All files of the repository.
        path: Where the whole is on disk.
    """
    split = (build for build in variants(files) if build.byte_split and not build.missing)
    whole = next((build for build in split if joined_path(build) == path), None)
    return tuple(_plan(part, FileRole.BYTE_PART) for part in whole.files) if whole else ()


def pick(match: Match, asked: str | None) -> Build:
    """Return the one build of `match`, or raise what keeps it from being fetched.

    Args:
        match: What the request means.
        asked: The request, for messages.

    Raises:
        AmbiguousQuantization: The match has several builds.
        IncompleteModel: A shard or part is missing upstream.
    """
    if len(match.builds) > 1:
        raise _ambiguous(match, asked)
    build = match.builds[0]
    if not build.complete:
        missing = build.missing
        raise IncompleteModel(
            f"The repository lacks {len(missing)} of the {build.count} files of {build.selector}: "
            f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}.",
            missing,
        )
    return build


def _ambiguous(match: Match, asked: str | None) -> AmbiguousQuantization:
    count, labels = len(match.builds), {build.label for build in match.builds}
    if asked is not None:
        message = f"{asked} fits {count} models of the repository."
    elif len(labels) == 1:
        message = f"The repository has {count} models that are {labels.pop() or 'unlabelled'}."
    else:
        message = f"None of the repository's {count} models is a default ({', '.join(DEFAULTS)})."
    return AmbiguousQuantization(asked, _variants(match.builds), message)


def no_models(
    entries: Sequence[Entry], asked: str | None, subject: str = "The repository"
) -> ModelFetchError:
    """Return the error that tells what there is instead of a model."""
    if asked is not None:
        return _not_found(entries, (), asked)
    if not entries:
        return ModelNotFound(f"{subject} has no GGUF files.")
    name = entries[0][0]
    what = _ROLES.get(name.role, "no model")
    return ModelNotFound(f"{subject} has no GGUF model: {name.path} is {what}.")


def _not_found(
    entries: Sequence[Entry], builds: Sequence[Build], asked: str
) -> QuantizationNotFound:
    message = f"The repository offers no {asked}."
    wanted = asked.strip().casefold()
    for name, _ in entries:
        called = (name.path, _last(name.path), name.stem)
        if name.role in _ROLES and wanted in [text.casefold() for text in called]:
            message = f"{asked} is {_ROLES[name.role]}, not a model."
    label = parse_label(_last(asked.strip()))
    near = _nearest(builds, None if label is None else label.label)
    return QuantizationNotFound(asked, _variants(near), message)


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _nearest(builds: Iterable[Build], label: str | None) -> list[Build]:
    """Return builds by how far they are from `label`; of two as far, the smaller one first.

    Those that cannot be had go last.
    """

    def order(build: Build) -> tuple[bool, float, float]:
        mine = quality(build.label)
        far = 0.0 if label is None else abs(mine - quality(label))
        return build.byte_split or not build.complete, far, mine if far else 0.0

    return sorted(builds, key=order)


def _variants(builds: Iterable[Build]) -> list[Variant]:
    return [build.variant for build in builds]
