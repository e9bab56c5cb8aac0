"""The quantization `auto`: the best build that fits into the memory there is.

Only builds of the model that the default is about are compared, and of those only what the
repository has whole: no incomplete set of shards, and nothing cut at some byte. Best is the
highest in the Hub's order by bits per weight (`core.labels.quality`), and of equals the largest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from modelfetch.core.fit import KEPT_FREE, judge, needed_bytes
from modelfetch.core.labels import quality
from modelfetch.core.projectors import Projectors
from modelfetch.core.quants import AUTO, Choice, make_choice, no_models
from modelfetch.core.select import Match, default, main_model
from modelfetch.core.variants import Build, closest, group, read_listing
from modelfetch.errors import InsufficientMemory, ModelFetchError, QuantizationNotFound
from modelfetch.offers import Fit
from modelfetch.types import RemoteFile
from modelfetch.wording import human_size

__all__ = ["best", "choose_fitting", "needs"]


def choose_fitting(
    files: Iterable[RemoteFile], memory_bytes: int, *, include_mmproj: bool = True
) -> Choice:
    """Return the files of the best build that fits.

    Args:
        files: Every file of the repository, in any order.
        memory_bytes: Memory that the model may use.
        include_mmproj: Whether a multimodal model's projector belongs to the model.

    Raises:
        InsufficientMemory: No build fits.
        QuantizationNotFound: The repository has no build whole.
        AmbiguousQuantization: The best that fits is there twice, or of several models.
        ModelNotFound: The repository has no GGUF models.
    """
    entries = read_listing(files)
    builds = group(entries)
    if not builds:
        raise no_models(entries, None)
    projectors = Projectors(entries if include_mmproj else ())
    match = best(builds, needs(builds, projectors), memory_bytes)
    return make_choice(entries, match, AUTO, include_mmproj=include_mmproj)


def needs(builds: Iterable[Build], projectors: Projectors) -> dict[str, int]:
    """Return the bytes of memory that each build needs with its projector, by selector."""
    needed = {}
    for build in builds:
        projector = projectors.of(build)
        extra = projector.size_bytes if projector is not None else 0
        needed[build.selector] = needed_bytes(build.size_bytes + extra)
    return needed


def best(builds: Sequence[Build], needed: Mapping[str, int], memory_bytes: int) -> Match:
    """Return the best of `builds` that fits into `memory_bytes`; several when that is not clear.

    Args:
        builds: All builds; at least one.
        needed: What each needs, by selector.
        memory_bytes: Memory that the model may use.

    Raises:
        InsufficientMemory, QuantizationNotFound: There is none.
    """
    model = _of_one_model(builds)
    if len({build.name.base for build in model}) > 1:
        return Match(tuple(model), "")
    usable = [build for build in model if build.complete and not build.byte_split]
    if not usable:
        message = "The repository has no build whole, so there is nothing for auto to choose from."
        raise QuantizationNotFound(AUTO, [build.variant for build in builds], message)
    fitting = [b for b in usable if judge(needed[b.selector], memory_bytes) is Fit.FITS]
    if not fitting:
        raise _none_fits(usable, needed, memory_bytes)
    top = max(fitting, key=lambda b: (quality(b.label), b.size_bytes))
    rivals = closest([build for build in fitting if build.quantization == top.quantization])
    needs_, memory = human_size(needed[top.selector]), human_size(memory_bytes)
    what = f"{top.quantization or top.selector} is the best that fits"
    rule = f"auto: {what} in {memory} of memory, it needs about {needs_}"
    return Match(tuple(rivals), rule)


def _of_one_model(builds: Sequence[Build]) -> Sequence[Build]:
    """Return the builds of the model that the default is about; of several when that is several.

    Bits do not tell which of two models is better.
    """
    main = main_model(builds)
    if len({build.name.base for build in main}) == 1:
        return main
    usual = default(builds).builds
    bases = {build.name.base for build in usual}
    return [build for build in main if build.name.base in bases] if len(bases) == 1 else usual


def _none_fits(
    builds: Iterable[Build], needed: Mapping[str, int], memory_bytes: int
) -> ModelFetchError:
    smallest = min(builds, key=lambda build: needed[build.selector])
    least = needed[smallest.selector]
    enough = -(-least * KEPT_FREE // (KEPT_FREE - 1))  # so that the tenth remains
    memory = human_size(memory_bytes)
    error = InsufficientMemory(
        f"Nothing fits in {memory} of memory: the smallest build, {smallest.selector}, needs about "
        f"{human_size(least)}, and fits from {human_size(enough)} on.",
        hint="Ask for it by name to take it all the same, or say how much memory there will be.",
    )
    error.needed_bytes, error.available_bytes = least, memory_bytes
    return error
