"""What the name of one file says: its role, its quantization, and which set it belongs to.

Nobody enforces how GGUF files are named; the convention of ggml's `docs/gguf.md` demands a version
number that almost no real file has. What publishers do agree on is this shape:

    [folder/] base [prefix-] LABEL [-tag] [-00001-of-00003] .gguf [.part1of2]

`core.labels` finds the label; when the name has none, the nearest folder that has one lends it.

A file that is not the model (projector, drafter, adapter, ...) says so by a word at a place where
no model has it. A word in the middle proves little: `X-MTP-Q4_K_M` is a model *with* such a head.

Sources: listings of Hub repositories; llama.cpp `common/download.cpp`; mistral.rs
`gguf_discovery.rs`; unsloth `hub/utils/gguf.py`; the 1119 names of LocalAI's gallery.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from modelfetch.core.labels import FLOATS, Label, find_label, folder_label
from modelfetch.types import FileRole

__all__ = ["FileName", "read_name"]

_SHARD = re.compile(r"(?:[-_.]split)?[-_.]([0-9]{1,5})[-_.]?of[-_.]?([0-9]{1,5})$", re.I | re.A)
_OF = r"(?:[-_.]?of[-_.]?(?P<count>[0-9]{1,5}))?"
# `x.gguf.part1of2`, `x.gguf-split-a`, `x.gguf.a`, `x.gguf.001`
_PART = re.compile(
    r"\.gguf[-_.](?P<word>(?:part|split|chunk)[-_.]?)?(?P<index>[0-9]{1,5}|[a-z]{1,2})" + _OF + "$",
    re.I | re.A,
)
# `x-chunk-001-of-018.gguf` ends in .gguf, and is none before it is joined with the others.
_CHUNK = re.compile(
    r"[-_.](?P<word>(?:part|chunk)[-_.]?)(?P<index>[0-9]{1,5})" + _OF + "$", re.I | re.A
)
_LONGEST = 24  # of the two above, `-split-00001-of-00005` and `-chunk-00001-of-00018`, with room

# Most names hold none of these and are models: one search saves splitting them into words.
_SUSPECT = re.compile(
    r"imat|mmproj|mm[-_]proj|projector|mtp|draft|dflash|dspark|eagle3|lora|adapter|vocab|tokenizer|vocoder"
    r"|endian|(?<![a-z0-9])be(?![a-z0-9])"
)
_WORD = re.compile(r"[-_. ]+")
_BIG_ENDIAN = re.compile(r"[-_.]be(?:\.|$)|big[-_]?endian")
_PROJECTOR = re.compile("mm[-_]?proj")
_DRAFTERS = frozenset({"dflash", "dspark", "eagle3"})
_FOLDERS = {
    **dict.fromkeys(("mtp", "draft", "drafter", *_DRAFTERS), FileRole.DRAFTER),
    **dict.fromkeys(("lora", "loras", "adapter", "adapters"), FileRole.LORA),
    **dict.fromkeys(("vocab", "tokenizer"), FileRole.VOCAB),
    **dict.fromkeys(("be", "bigendian", "big-endian", "big_endian"), FileRole.BIG_ENDIAN),
    "mmproj": FileRole.MMPROJ,
}
# What adapters are made in, and what importance matrices are computed from.
_UNREDUCED = FLOATS | {"Q8_0"}


class FileName(NamedTuple):
    """What the path of a file says.

    Attributes:
        path: Path in the repository.
        directory: Its folder, without a slash at the end; empty for the root.
        stem: The name without `.gguf` and without the suffix of a shard or byte part.
        group: Equal for the files of one set, different for any two other files: the path, with
            NULs instead of the number.
        base: The stem up to the label and its prefix, in lower case.
        role: What the file is for.
        quantization: `None` when neither the name nor a folder tell.
        shard: `(index, count)`, from 1, for a file that llama.cpp's gguf-split made.
        part: `(index, count)`, mostly from 1, for a piece of a file that was cut at some byte;
            the count is `None` when the name does not tell.
    """

    path: str
    directory: str
    stem: str
    group: str
    base: str
    role: FileRole
    quantization: Label | None = None
    shard: tuple[int, int] | None = None
    part: tuple[int, int | None] | None = None

    @property
    def label(self) -> str | None:
        """Label of the quantization, without prefix and tag."""
        return None if self.quantization is None else self.quantization.label

    @property
    def prefix(self) -> str | None:
        """Prefix of the label, see `Label`."""
        return None if self.quantization is None else self.quantization.prefix

    @property
    def tag(self) -> str | None:
        """Tag after the label, see `Label`."""
        return None if self.quantization is None else self.quantization.tag


class _Suffix(NamedTuple):
    """What `_suffix` found after the stem."""

    stem: str
    group: str
    shard: tuple[int, int] | None = None
    part: tuple[int, int | None] | None = None


def read_name(path: str) -> FileName:
    """Read the path of one file of a repository; any text is a path.

    Args:
        path: Path in the repository, with `/`.
    """
    directory, _, name = path.rpartition("/")
    suffix = _suffix(path, name)
    if suffix is None:
        return FileName(path, directory, name, path, name.lower(), FileRole.OTHER)
    base, role, label = _read_stem(directory, suffix.stem)
    if role is FileRole.MODEL and suffix.part is not None:
        role = FileRole.BYTE_PART
    return FileName(
        path, directory, suffix.stem, suffix.group, base, role, label, suffix.shard, suffix.part
    )


@lru_cache(maxsize=1024)  # the shards of a set come one after the other, and share all of this
def _read_stem(directory: str, stem: str) -> tuple[str, FileRole, Label | None]:
    """Return base, role and quantization of a GGUF file."""
    found = find_label(stem)
    base = (stem if found is None else stem[: found[0]]).rstrip("-_. ").lower()
    label = folder_label(directory) if found is None else found[1]
    return base, _role(directory, stem, base, label), label


def _suffix(path: str, name: str) -> _Suffix | None:
    """Split off `.gguf` and what marks a shard or byte part; `None` when this is no GGUF file."""
    if name.startswith("._"):  # AppleDouble: the resource fork of a file copied from a Mac
        return None
    folder = path[: len(path) - len(name)]
    if not name.lower().endswith(".gguf"):
        cut = _PART.search(name)
        return None if cut is None else _byte_part(folder, name, cut)
    stem = name[: -len(".gguf")]
    if not stem[-1:].isdigit():  # neither of the suffixes below
        return _Suffix(stem, path) if stem else None
    near = max(0, len(stem) - _LONGEST)
    cut = _CHUNK.search(stem, near)
    if cut is not None:
        return _byte_part(folder, name, cut)
    cut = _SHARD.search(stem, near)
    if cut is None:
        return _Suffix(stem, path)
    index, total = int(cut[1]), int(cut[2])
    if not 1 <= index <= total:
        return None  # contradicts itself: nothing that anybody could load
    group = f"{folder}{name[: cut.start(1)]}\0{name[cut.end(1) :]}"
    return _Suffix(stem[: cut.start()].removesuffix(".gguf"), group, shard=(index, total))


def _byte_part(folder: str, name: str, cut: re.Match[str]) -> _Suffix | None:
    index, stem = cut["index"].lower(), name[: cut.start()]
    # `split` counts aa, ab, ...; `x.gguf.md` is a text and `x.gguf.gz` something packed.
    if not stem or (len(index) == 2 and index.isalpha() and not cut["word"] and index[0] != "a"):
        return None
    if index.isdigit():
        ordinal, gap = int(index), "\0"
    else:
        ordinal = sum((ord(c) - 96) * 26**n for n, c in enumerate(reversed(index)))
        ordinal, gap = ordinal - 26 * (len(index) - 1), "\0" * (len(index) + 1)
    group = f"{folder}{name[: cut.start('index')]}{gap}{name[cut.end('index') :]}"
    return _Suffix(stem, group, part=(ordinal, int(cut["count"]) if cut["count"] else None))


def _role(directory: str, stem: str, base: str, label: Label | None) -> FileRole:
    """Return the role that name and folders give a GGUF file, `MODEL` when they say nothing."""
    folders, name = directory.lower(), stem.lower()
    role = _role_by_name(name, base, label) if _SUSPECT.search(name) else FileRole.MODEL
    if role is not FileRole.MODEL or not _SUSPECT.search(folders):
        return role
    for folder in folders.split("/"):
        words = _WORD.split(folder)
        if folder in _FOLDERS:
            return _FOLDERS[folder]
        if words[0] == "mtp" or not _DRAFTERS.isdisjoint(words):
            return FileRole.DRAFTER
        # Some keep models made with an importance matrix in such a folder.
        if words[0] == "imatrix" and (label is None or label.label in _UNREDUCED):
            return FileRole.IMATRIX
    return FileRole.MODEL


def _role_by_name(name: str, base: str, label: Label | None) -> FileRole:
    words = _WORD.split(name)
    first, last, before = words[0], words[-1], _WORD.split(base)[-1]
    if _BIG_ENDIAN.search(name) or before == "be":
        return FileRole.BIG_ENDIAN
    if first == "imatrix" or (last in ("imatrix", "imat") and not _made_with_imatrix(last, label)):
        return FileRole.IMATRIX
    if _PROJECTOR.search(name) or "projector" in (first, before):
        return FileRole.MMPROJ
    if first == "mtp" or not _DRAFTERS.isdisjoint(words):
        return FileRole.DRAFTER
    unreduced = label is not None and label.label in _UNREDUCED
    if "lora" in (first, last) or (before == "lora" and unreduced) or "adapter" in (first, before):
        return FileRole.LORA
    if first == "ggml" and words[1:2] in (["vocab"], ["adapter"]):
        return FileRole.VOCAB if words[1] == "vocab" else FileRole.LORA
    if "vocab" in (first, last) or "tokenizer" in (first, before):
        return FileRole.VOCAB
    return FileRole.OTHER if first == "vocoder" else FileRole.MODEL


def _made_with_imatrix(word: str, label: Label | None) -> bool:
    """Tell whether `...-imat` says how a model was made, rather than what the file is.

    `Q4_K_M-imat` is a model. `x.Q8_0.imatrix` is a matrix computed from it; but nobody computes
    one from an IQ quantization, which needs one itself.
    """
    return label is not None and (word == "imat" or label.label.startswith("IQ"))
