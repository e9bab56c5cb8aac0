"""Which build a request means. No rule here ever settles for something near.

A request is, in the order of the attempts:

1. the path or name of a file (any shard stands for its set), with or without `.gguf`;
2. a label, `[prefix-]label[-tag]` in any case:
   a. exactly that; b. without a prefix asked: the same with one (`Q4_K_XL` -> `UD-Q4_K_XL`);
   c. another name of it (`Q4_K` is `Q4_K_M`); d. without a tag asked: the same with one;
3. a folder, or `folder/label`; in a folder the default order decides;
4. the end of the name of a file that has no label we know (`APEX-I-Quality`).

The first attempt that finds anything decides. Among its finds a build at the top of the repository
goes before one in a folder for its quantization, and that before one in any other folder. What
still is more than one is a tie, and the caller must ask the user.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from modelfetch.core.labels import Label, parse_label, tag_key
from modelfetch.core.variants import Build, closest, place, whole_first

__all__ = ["DEFAULTS", "Match", "default", "find", "main_model"]

# llama.cpp takes Q4_K_M, then Q8_0. Between them: what unsloth recommends, and what is about as
# large as Q4_K_M. Each stands for what a request of that name would find.
DEFAULTS = ("Q4_K_M", "UD-Q4_K_XL", "Q4_K_S", "IQ4_XS", "IQ4_NL", "Q8_0")

# Two names of one file type: llama.cpp's `quantize` takes Q4_K for Q4_K_M, and its only type of
# MXFP4 is MXFP4_MOE.
_ALIASES = {
    "Q3_K": ("Q3_K_M",), "Q3_K_M": ("Q3_K",),
    "Q4_K": ("Q4_K_M",), "Q4_K_M": ("Q4_K",),
    "Q5_K": ("Q5_K_M",), "Q5_K_M": ("Q5_K",),
    "MXFP4": ("MXFP4_MOE",), "MXFP4_MOE": ("MXFP4",),
}  # fmt: skip


class Match(NamedTuple):
    """What a request means.

    Attributes:
        builds: One build, or several that fit equally well.
        rule: Why, in words for the user.
    """

    builds: tuple[Build, ...]
    rule: str


def find(builds: Sequence[Build], request: str) -> Match | None:
    """Return what `request` means, `None` when there is nothing of that name.

    Args:
        builds: All builds of the repository.
        request: What the user typed; not blank.
    """
    exact = [b for b in builds if any(file.path == request for file in b.files)]
    if exact:
        return Match(tuple(exact), f"the file {request}, as asked")
    text = request.strip()
    return (
        _by_name(builds, text)
        or _by_label(builds, text)
        or _by_folder(builds, text)
        or _by_ending(builds, text)
    )


def default(builds: Sequence[Build], root: str = "") -> Match:
    """Return what is meant when nothing was said.

    Args:
        builds: At least one build.
        root: Folder that all of them are in.
    """
    usable: Sequence[Build] = whole_first(main_model(builds, root))
    usable = [build for build in usable if not build.byte_split] or usable
    usable = [build for build in usable if not _is_mixed(build)] or usable
    for text in DEFAULTS:
        match = _by_label(usable, text, root)
        if match is not None:
            return _as_default(match, text)
    if len(usable) == 1:
        return Match(tuple(usable), "no quantization asked, there is only one model")
    match = _by_label(usable, "MXFP4", root)
    if match is not None:
        return _as_default(match, "MXFP4")
    return Match(tuple(usable), "no quantization asked, and none of the usual ones is there")


def main_model(builds: Sequence[Build], root: str = "") -> Sequence[Build]:
    """Leave out what may be another model than the one at the top: other folder, other name."""
    top = [build for build in builds if place(build, root) < 2]
    bases = {build.name.base for build in top}
    return [build for build in builds if build.name.base in bases] or builds


def _is_mixed(build: Build) -> bool:
    return build.quantization is not None and build.quantization.is_mixed


def _as_default(match: Match, text: str) -> Match:
    how = match.rule.removeprefix(f"{text}, as asked")
    how = f" ({how})" if how == match.rule else how
    return Match(match.builds, f"no quantization asked, {text} is the default{how}")


def _by_name(builds: Sequence[Build], text: str) -> Match | None:
    """Find a file by its path or name; only a whole name can stand without `.gguf`."""
    wanted = text.casefold().removeprefix("./")
    loose = parse_label(text) is None
    if not loose and ".gguf" not in wanted:
        return None
    found = [build for build in builds if any(wanted in n for n in _names(build, loose))]
    if not found:
        return None
    return Match(tuple(closest(found)), f"the file {text}, as asked")


def _names(build: Build, loose: bool) -> list[tuple[str, ...]]:
    """Return what the files of a build are called, in lower case; `loose` without suffixes too."""
    stem = build.name.stem.casefold()
    stems = (stem, f"{build.name.directory.casefold()}/{stem}".lstrip("/"))
    names: list[tuple[str, ...]] = []
    for file in build.files:
        path = file.path.casefold()
        names.append((path, path.rpartition("/")[2]))
        if loose:
            names.append(tuple(name.removesuffix(".gguf") for name in names[-1]))
    if build.byte_split:  # what the pieces are when joined
        names.append(tuple(f"{stem}.gguf" for stem in stems))
    if loose:
        names.append(stems)
    return names


def _by_label(builds: Sequence[Build], text: str, root: str = "") -> Match | None:
    wanted = parse_label(text)
    if wanted is None or text.casefold().endswith(".gguf"):
        return None
    labelled = [(build, build.quantization) for build in builds]
    for fits, rule in _attempts(wanted):
        found = [build for build, label in labelled if label is not None and fits(label)]
        if found:
            best = closest(found, root)
            # The same build whole spares the joining of its parts.
            best = [build for build in best if not build.byte_split] or best
            is_near = all(place(build, root) == place(best[0], root) for build in found)
            where = "" if is_near else ", ahead of those in other folders"
            if place(best[0], root) == 2:
                where = f", in the folder {best[0].name.directory}"
            rule = rule.format(asked=wanted, found=best[0].quantization) + where
            return Match(tuple(best), rule)
    return None


def _attempts(wanted: Label) -> list[tuple[Callable[[Label], bool], str]]:
    """Return the readings of a label from the strictest on, each with its rule."""
    tag = tag_key(wanted.tag)
    names = _ALIASES.get(wanted.label, ())

    def same(label: Label) -> bool:
        return label.label == wanted.label and tag_key(label.tag) == tag

    def alias(label: Label) -> bool:
        return label.label in names and tag_key(label.tag) == tag

    def prefix(label: Label) -> bool:
        return label.prefix == wanted.prefix

    only, other = "the only {asked} is {found}", "{found} is another name of {asked}"
    attempts = [(lambda x: same(x) and prefix(x), "{found}, as asked")]
    if wanted.prefix is None:
        attempts.append((same, only))
    attempts.append((lambda x: alias(x) and prefix(x), other))
    if wanted.prefix is None:
        attempts.append((alias, other))
    if wanted.tag is None:
        called = (wanted.label, *names)
        attempts.append((lambda x: x.label == wanted.label and prefix(x), only))
        if wanted.prefix is None:
            attempts.append((lambda x: x.label == wanted.label, only))
        attempts.append((lambda x: x.label in called and prefix(x), only))
    return attempts


def _by_folder(builds: Sequence[Build], text: str) -> Match | None:
    """Find `folder/label`, or the default in a folder.

    A label without a slash at its end is never taken for a folder: what lies in a folder of that
    name may well be something else.
    """
    folder = text.removeprefix("./").strip("/")
    if text.endswith("/") or parse_label(folder) is None:
        inside, root = _inside(builds, folder)
        if inside:
            usual = default(inside, root)
            return Match(usual.builds, f"in the folder {root}, {usual.rule}")
    parent, _, label = folder.rpartition("/")
    inside, root = _inside(builds, parent)
    match = _by_label(inside, label, root)
    if match is None:
        return None
    return Match(match.builds, f"in the folder {root}, {match.rule}")


def _inside(builds: Sequence[Build], folder: str) -> tuple[list[Build], str]:
    """Return the builds in `folder` or below, and the folder as the repository spells it."""
    if not folder:
        return [], ""
    wanted = f"{folder.casefold()}/"
    inside = [b for b in builds if f"{b.name.directory}/".casefold().startswith(wanted)]
    depth = folder.count("/") + 1
    root = "/".join(inside[0].name.directory.split("/")[:depth]) if inside else ""
    return inside, root


def _by_ending(builds: Sequence[Build], text: str) -> Match | None:
    end = text.casefold()
    if not end[:1].isalnum() or parse_label(text) is not None:
        return None
    found = [
        build
        for build in builds
        if build.quantization is None and _ends(build.name.stem.casefold(), end)
    ]
    if not found:
        return None
    return Match(tuple(closest(found)), f"the only file whose name ends in {text}")


def _ends(stem: str, end: str) -> bool:
    return stem.endswith(end) and stem[: -len(end)][-1:] in tuple("-_. ")
