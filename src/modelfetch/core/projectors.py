"""Which multimodal projector belongs to which build."""

from __future__ import annotations

import re
from collections.abc import Iterable

from modelfetch.core.labels import folder_label, quality
from modelfetch.core.names import FileName
from modelfetch.core.variants import Build, Entry
from modelfetch.types import FileRole, RemoteFile

__all__ = ["Projectors"]

# Projectors are small: fp16 runs everywhere, and the others follow by how well they keep it.
_ORDER = {"F16": 0, "BF16": 1, "F32": 2, "Q8_0": 3}
_MMPROJ = re.compile(r"[-_. ]*mm[-_]?proj[-_. ]*")


class Projectors:
    """The projectors of a repository.

    A projector lies in the model's folder or above. One that has the model's name goes first; one
    that has the name of another model of the repository belongs to that one.

    Args:
        entries: All GGUF files of the repository.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._bases = set()
        self._found: list[tuple[FileName, str, RemoteFile]] = []
        for name, file in entries:
            if name.role is FileRole.MODEL:
                self._bases.add(name.base)
            elif name.role is FileRole.MMPROJ and not (name.shard or name.part):
                self._found.append((name, _MMPROJ.sub("-", name.base).strip("-"), file))
        self._bases -= {"", "model"}  # names that say nothing

    def of(self, build: Build) -> RemoteFile | None:
        """Return the projector that belongs to `build`, if there is one."""
        model = build.name
        found: list[tuple[tuple[int, int, int, float, str], RemoteFile]] = []
        for name, about, file in self._found:
            distance = _distance(name.directory, model.directory)
            foreign = about != model.base
            if distance is None or (foreign and about in self._bases):
                continue
            order = _ORDER.get(name.label or "", len(_ORDER))
            found.append(((foreign, distance, order, -quality(name.label), name.path), file))
        return min(found, key=lambda entry: entry[0])[1] if found else None


def _distance(projector: str, model: str) -> int | None:
    """Return how many folders a projector lies above the model; `None` when it lies elsewhere."""
    if projector == model:
        return 0
    home, _, last = projector.rpartition("/")
    if last.lower() != "mmproj" and folder_label(last) is None:
        home = projector
    if home and not f"{model}/".startswith(f"{home}/"):
        return None
    return 1 + _depth(model) - _depth(home)


def _depth(directory: str) -> int:
    return directory.count("/") + 1 if directory else 0
