from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.core.fit import bits_per_weight, judge, needed_bytes
from modelfetch.core.labels import parse_label
from modelfetch.core.sizes import parse_size
from modelfetch.offers import Fit

GB, GiB = 10**9, 1 << 30


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("Q4_K_M", 4.89), ("q4_k", 4.89), ("Q8_0", 8.5), ("F16", 16.0), ("fp16", 16.0),
        ("BF16", 16.0), ("MXFP4", 4.25), ("Q4_0", 4.5), ("i1-IQ1_S", 2.0), ("Q4_K_M-imat", 4.89),
        ("UD-Q4_K_M", None), ("UD-Q4_K_XL", None), ("Q4_K_M-fp16", None), ("IQ3_S-mtp", None),
        ("Q2_g64", None), ("Q4_0_4_4", None),
    ],
)  # fmt: skip
def test_bits_per_weight(text: str, bits: float | None) -> None:
    assert bits_per_weight(parse_label(text)) == bits


def test_without_a_label_nothing_is_known() -> None:
    assert bits_per_weight(None) is None


@pytest.mark.parametrize(
    ("size", "needed"),
    [(0, GiB), (4_920_000_000, 4_920_000_000 + GiB), (20 * GiB, 22 * GiB), (100 * GB, 110 * GB)],
)
def test_what_is_needed(size: int, needed: int) -> None:
    assert needed_bytes(size) == needed


@pytest.mark.parametrize(
    ("needed", "memory", "fit"),
    [
        (90, 100, Fit.FITS),
        (91, 100, Fit.TIGHT),
        (100, 100, Fit.TIGHT),
        (101, 100, Fit.TOO_LARGE),
        (1, 0, Fit.TOO_LARGE),
    ],
)
def test_verdicts_at_the_bounds(needed: int, memory: int, fit: Fit) -> None:
    assert judge(needed, memory) is fit


@given(st.integers(1, 1 << 50), st.integers(0, 1 << 50), st.integers(0, 1 << 50))
def test_more_memory_never_fits_worse(size: int, memory: int, more: int) -> None:
    order = [Fit.TOO_LARGE, Fit.TIGHT, Fit.FITS]
    before, after = judge(needed_bytes(size), memory), judge(needed_bytes(size), memory + more)
    assert order.index(before) <= order.index(after)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("12G", 12 * GB), ("12GB", 12 * GB), ("12gib", 12 * GiB), ("12Gi", 12 * GiB),
        (" 800M ", 800_000_000), ("1.5T", 1_500 * GB), ("64 kib", 65536), ("5000", 5000), ("1b", 1),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "G", "-1G", "12X", "0", "0.1", "12G free", "1e9", "\u0661G", "inf"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="not a size; try 12G"):
        parse_size(text)
