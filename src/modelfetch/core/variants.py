"""The builds that a repository offers: files grouped into sets, each with a name to ask for it.

A *build* is what llama.cpp loads as one model: a single file, or a set of shards. A file cut at
some byte is a build too, which nobody can load before its parts are joined.

Sets are found by their file names alone (`FileName.group`): same folder, same stem, same count.
Nothing depends on the order in which the Hub lists files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from modelfetch.core.labels import Label, folder_label, parse_label, quality, tag_key
from modelfetch.core.names import FileName, read_name
from modelfetch.errors import Variant
from modelfetch.types import FileRole, RemoteFile

__all__ = [
    "Build",
    "Entry",
    "closest",
    "group",
    "has_models",
    "place",
    "read_listing",
    "variants",
    "whole_first",
]

_MODELS = (FileRole.MODEL, FileRole.BYTE_PART)

# A GGUF file of a repository, and what its name says.
Entry = tuple[FileName, RemoteFile]


@dataclass(frozen=True, slots=True)
class Build:
    """A model that a repository offers.

    Attributes:
        name: What the name of its first file says.
        files: The files that are there, in the order of their shards.
        indices: The number of each file in its set, from 1; `(1,)` for a single file.
        count: How many files there should be; `None` when the names do not tell.
        selector: What to type to get exactly this build: `Q4_K_M`, or the path of a file.
    """

    name: FileName
    files: tuple[RemoteFile, ...]
    indices: tuple[int, ...] = field(repr=False)
    count: int | None
    selector: str

    @property
    def quantization(self) -> Label | None:
        """Label with prefix and tag; `None` when no name tells."""
        return self.name.quantization

    @property
    def label(self) -> str | None:
        """Label without prefix and tag, such as `Q4_K_M`."""
        return self.name.label

    @property
    def prefix(self) -> str | None:
        """Prefix of the label, such as `UD`."""
        return self.name.prefix

    @property
    def tag(self) -> str | None:
        """Tag after the label, such as `fp16`."""
        return self.name.tag

    @property
    def byte_split(self) -> bool:
        """True when the files are pieces that must be joined first."""
        return self.name.role is FileRole.BYTE_PART

    @property
    def size_bytes(self) -> int:
        """Sum over the files that are there."""
        return sum(file.size_bytes for file in self.files)

    @property
    def complete(self) -> bool:
        """True when all files are there, as far as their names tell."""
        return len(self.indices) == len(self._numbers)

    @property
    def missing(self) -> tuple[str, ...]:
        """Paths of the files that should be there and are not."""
        present = set(self.indices)
        return tuple(self._path(index) for index in self._numbers if index not in present)

    @property
    def variant(self) -> Variant:
        """The form that errors carry."""
        return Variant(self.selector, self.size_bytes)

    @property
    def _numbers(self) -> range:
        low = min(1, self.indices[0])  # some byte parts are counted from zero
        return range(low, low + self.count if self.count else self.indices[-1] + 1)

    def _path(self, index: int) -> str:
        """Return the path that file `index` of the set has, going by one that is there."""
        start, stop = self.name.group.split("\0")[:: self.name.group.count("\0")]
        shown = self.name.path[len(start) : len(self.name.path) - len(stop)]
        if shown.isdigit():
            return f"{start}{index:0{len(shown)}}{stop}"
        letters = (index - 1) // 26, (index - 1) % 26
        return start + "".join(chr(97 + n) for n in letters[-len(shown) :]) + stop


def read_listing(files: Iterable[RemoteFile]) -> list[Entry]:
    """Return the GGUF files (and pieces of such) of a listing in order of their paths.

    A path that is listed twice counts once.
    """
    once = {file.path: file for file in files}
    entries = [(read_name(path), once[path]) for path in sorted(once)]
    return [entry for entry in entries if entry[0].role is not FileRole.OTHER]


def variants(files: Iterable[RemoteFile]) -> list[Build]:
    """Return the builds that a repository offers, best quality first.

    Args:
        files: The repository's files, in any order.
    """
    return group(read_listing(files))


def has_models(files: Iterable[RemoteFile]) -> bool:
    """Return whether there is any GGUF model among `files`."""
    return any(read_name(file.path).role in _MODELS for file in files)


def group(entries: Iterable[Entry]) -> list[Build]:
    """Return the builds among `entries`, best quality first."""
    sets: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry[0].role in _MODELS:
            sets.setdefault(entry[0].group, []).append(entry)
    builds = _with_selectors([_build(members) for members in sets.values()])
    builds.sort(
        key=lambda b: (-quality(b.label), str(b.quantization), bool(b.name.directory), b.name.path)
    )
    return builds


def place(build: Build, root: str = "") -> int:
    """Return how far a build is from the main place of a repository (or of its folder `root`).

    Returns:
        0 right there, 1 in a folder for its quantization, 2 in any other folder, where it can be
        another model.
    """
    folder = build.name.directory[len(root) :].strip("/")
    if not folder:
        return 0
    label = None if "/" in folder else folder_label(folder)
    return 1 if label is not None and label.label == build.label else 2


def closest(builds: Sequence[Build], root: str = "") -> list[Build]:
    """Return those of `builds` that have the best place."""
    places = [place(build, root) for build in builds]
    best = min(places, default=0)
    near = [build for build, found in zip(builds, places, strict=True) if found == best]
    return whole_first(near)


def whole_first(builds: Sequence[Build]) -> list[Build]:
    """Return `builds` without the shards and parts of what is among them as one file, too."""
    whole = {(b.name.directory, b.name.stem) for b in builds if b.count == 1 and not b.byte_split}
    return [b for b in builds if b.count == 1 or (b.name.directory, b.name.stem) not in whole]


def _build(members: Sequence[Entry]) -> Build:
    """Make one build of the files of one set."""
    name, file = members[0]
    if name.shard is None and name.part is None:
        return Build(name, (file,), (1,), 1, selector=name.path)
    numbered: dict[int, Entry] = {}
    for entry in members:
        shard = entry[0].shard or entry[0].part
        numbered.setdefault(shard[0] if shard else 1, entry)
    indices = tuple(sorted(numbered))
    name = numbered[indices[0]][0]
    shard = name.shard or name.part
    files = tuple(numbered[index][1] for index in indices)
    return Build(name, files, indices, shard[1] if shard else 1, selector=name.path)


def _with_selectors(builds: Iterable[Build]) -> list[Build]:
    """Let the label name a build where it can name no other one, else leave it to the path."""
    same: dict[tuple[str, str | None, str | None] | None, list[Build]] = {}
    for build in builds:
        label = build.quantization
        key = None if label is None else (label.label, label.prefix, tag_key(label.tag))
        same.setdefault(key, []).append(build)
    result = same.pop(None, [])
    for rivals in same.values():
        best = closest(rivals)
        short = str(best[0].quantization)
        if len(best) == 1 and parse_label(short) == best[0].quantization:
            result.append(replace(best[0], selector=short))
            result.extend(build for build in rivals if build is not best[0])
        else:
            result.extend(rivals)
    return result
