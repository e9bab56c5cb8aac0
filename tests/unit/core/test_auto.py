"""`auto` on real listings and on made ones: the best that fits, or what the smallest needs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.listings import LISTINGS

from modelfetch.core.auto import choose_fitting
from modelfetch.core.fit import needed_bytes
from modelfetch.core.labels import quality
from modelfetch.core.quants import Choice, is_auto, variants
from modelfetch.errors import (
    AmbiguousQuantization,
    InsufficientMemory,
    ModelNotFound,
    QuantizationNotFound,
)
from modelfetch.types import FileRole, RemoteFile

GB, GiB = 10**9, 1 << 30
GEMMA2 = "bartowski/gemma-2-9b-it-GGUF"


def fitting(memory: int, sizes: dict[str, int], include_mmproj: bool = True) -> Choice:
    files = [RemoteFile(path, size, None) for path, size in sizes.items()]
    return choose_fitting(files, memory, include_mmproj=include_mmproj)


def test_what_asks_for_it() -> None:
    assert [is_auto(text) for text in ("auto", "AUTO", " auto ", None, "", "autos", "Q4_K_M")] == [
        True, True, True, False, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("memory", "quantization"),
    [
        (64 * GB, "F32"), (24 * GB, "Q8_0_L"), (12 * GB, "Q6_K_L"), (9 * GB, "Q5_K_L"),
        (8 * GB, "Q4_K_L"), (6 * GB, "IQ3_XS"), (5 * GB, "IQ2_S"),
    ],
)  # fmt: skip
def test_the_best_that_fits(memory: int, quantization: str) -> None:
    choice = choose_fitting(LISTINGS[GEMMA2], memory)
    assert choice.quantization == quantization
    needed = needed_bytes(sum(file.size_bytes for file in choice.files))
    assert needed * 10 <= memory * 9
    assert choice.rule == (
        f"auto: {quantization} is the best that fits in {memory / GB:.1f} GB of memory, "
        f"it needs about {needed / GB:.1f} GB"
    )


def test_nothing_fits_says_what_the_smallest_needs() -> None:
    with pytest.raises(InsufficientMemory) as caught:
        choose_fitting(LISTINGS[GEMMA2], 2 * GB)
    error = caught.value
    smallest = min(build.size_bytes for build in variants(LISTINGS[GEMMA2]))
    assert (error.needed_bytes, error.available_bytes) == (smallest + GiB, 2 * GB)
    assert "IQ2_XS, needs about 4.1 GB, and fits from 4.6 GB on" in error.message
    assert error.to_dict()["type"] == "insufficient_memory"


def test_tight_is_not_taken() -> None:
    sizes = {"m-Q8_0.gguf": 10 * GB - GiB, "m-Q4_0.gguf": 9 * GB - GiB}
    assert fitting(10 * GB, sizes).quantization == "Q4_0"
    del sizes["m-Q4_0.gguf"]
    with pytest.raises(InsufficientMemory, match=r"needs about 10\.0 GB, and fits from 11\.1 GB"):
        fitting(10 * GB, sizes)


def test_the_projector_is_reckoned_with() -> None:
    sizes = {"m-Q8_0.gguf": 6 * GB, "m-Q4_0.gguf": 4 * GB, "mmproj-F16.gguf": 2 * GB}
    assert fitting(9 * GB, sizes).quantization == "Q4_0"
    assert fitting(9 * GB, sizes).files[-1].role is FileRole.MMPROJ
    assert fitting(9 * GB, sizes, include_mmproj=False).quantization == "Q8_0"


def test_of_one_label_the_larger() -> None:
    sizes = {"m-Q6_K.gguf": 6 * GB, "m-Q6_K-f32.gguf": 7 * GB, "m-Q4_0.gguf": GB}
    assert fitting(20 * GB, sizes).quantization == "Q6_K-f32"
    assert fitting(8 * GB, sizes).quantization == "Q6_K"


def test_what_is_not_whole_is_never_taken() -> None:
    sizes = {
        "m-F16-00001-of-00002.gguf": GB,
        "m-Q8_0.gguf.part1of2": GB,
        "m-Q8_0.gguf.part2of2": GB,
        "m-Q2_K.gguf": GB,
    }
    assert fitting(64 * GB, sizes).quantization == "Q2_K"
    del sizes["m-Q2_K.gguf"]
    with pytest.raises(QuantizationNotFound, match="no build whole") as caught:
        fitting(64 * GB, sizes)
    assert [variant.label for variant in caught.value.available] == ["F16", "Q8_0"]


def test_bits_do_not_decide_between_models() -> None:
    # The default is about `a`; a `b` with more bits is another model, not a better one.
    sizes = {"a-Q4_K_M.gguf": GB, "b-Q8_0.gguf": GB, "x/c-F16.gguf": GB}
    assert fitting(64 * GB, sizes).files[0].path == "a-Q4_K_M.gguf"
    with pytest.raises(AmbiguousQuantization, match="auto fits 2 models"):
        fitting(64 * GB, {"a-Q6_K.gguf": GB, "b-Q5_K_M.gguf": GB})
    with pytest.raises(AmbiguousQuantization):
        fitting(64 * GB, {"x/m-Q6_K.gguf": GB, "y/m-Q6_K.gguf": GB})


def test_no_models() -> None:
    with pytest.raises(ModelNotFound, match="no GGUF files"):
        fitting(64 * GB, {"README.md": 1})


@settings(max_examples=150)
@given(st.sampled_from(sorted(LISTINGS)), st.integers(1, 800).map(lambda n: n * GB), st.booleans())
def test_nothing_better_would_have_fitted(repo: str, memory: int, include_mmproj: bool) -> None:
    files = LISTINGS[repo]
    try:
        choice = choose_fitting(files, memory, include_mmproj=include_mmproj)
    except (InsufficientMemory, QuantizationNotFound):
        return
    extra = sum(file.size_bytes for file in choice.files if file.role is FileRole.MMPROJ)
    taken = next(b for b in variants(files) if b.files[0].path == choice.files[0].path)
    assert taken.complete
    assert not taken.byte_split
    for build in variants(files):
        same = build.name.base == taken.name.base and build.complete and not build.byte_split
        if same and needed_bytes(build.size_bytes + extra) * 10 <= memory * 9:
            assert quality(build.label) <= quality(taken.label)
