"""What a build needs in memory, and whether that is there.

Running a model takes its weights, all of them, and on top of them the KV cache and the buffers for
computing. Weights are as large as their files. The rest depends on the architecture and the
length of the context, of which file names say nothing, so an allowance stands for it:

    needed = files + max(1 GiB, files / 10)

That is a context of some 4096 tokens and more. Llama 3.1 8B keeps 2 (keys, values) x 32 layers x
8 heads x 128 numbers x 2 bytes = 128 KiB for each token, 0.5 GiB for 4096 of them, and about as
much in buffers; its Q4_K_M is allowed 1 GiB on 4.9 GB. Llama 3.1 70B keeps 320 KiB, 1.3 GiB for
4096, and gets 4.3 GB on 43 GB: enough for 8192. Long contexts take far more; they are the user's
to reckon with, by giving less memory.

A build *fits* when it needs at most nine tenths of the memory, so that the system keeps a tenth;
up to the whole it is *tight*.
"""

from __future__ import annotations

from modelfetch.core.labels import Label
from modelfetch.offers import Fit

__all__ = ["KEPT_FREE", "bits_per_weight", "judge", "needed_bytes"]

MIN_ALLOWANCE = 1 << 30
ALLOWANCE_SHARE = 10  # of the files, one part in so many
KEPT_FREE = 10  # of the memory, one part in so many

# Measured: Llama 3.1 8B in the README of llama.cpp's `tools/quantize` (Q3_K_M, which that lacks:
# Llama 2 7B in an earlier one). They are mixtures, a little different for each model.
_MEASURED = {
    "IQ1_S": 2.00, "IQ1_M": 2.15, "IQ2_XXS": 2.38, "IQ2_XS": 2.59, "IQ2_S": 2.74, "IQ2_M": 2.93,
    "IQ3_XXS": 3.25, "IQ3_XS": 3.50, "IQ3_S": 3.66, "IQ3_M": 3.76, "IQ4_XS": 4.46, "IQ4_NL": 4.68,
    "Q2_K_S": 2.97, "Q2_K": 3.16, "Q3_K_S": 3.64, "Q3_K_M": 3.91, "Q3_K_L": 4.30,
    "Q4_K_S": 4.67, "Q4_K_M": 4.89, "Q5_K_S": 5.57, "Q5_K_M": 5.70, "Q6_K": 6.56, "Q8_0": 8.50,
}  # fmt: skip
# By definition: bytes of a block x 8 / weights in it, as ggml lays them out (`ggml-common.h`).
_BY_LAYOUT = {
    "F64": 64.0, "F32": 32.0, "F16": 16.0, "BF16": 16.0,
    "Q4_0": 4.5, "Q4_1": 5.0, "Q5_0": 5.5, "Q5_1": 6.0,
    "TQ1_0": 1.69, "TQ2_0": 2.06, "MXFP4": 4.25, "MXFP4_MOE": 4.25, "NVFP4": 4.5, "Q1_0": 1.13,
}  # fmt: skip
_BITS = {**_BY_LAYOUT, **_MEASURED}
# `quantize` takes these for the other name.
_BITS |= {"Q3_K": _BITS["Q3_K_M"], "Q4_K": _BITS["Q4_K_M"], "Q5_K": _BITS["Q5_K_M"]}
# Made with an importance matrix, which changes the numbers and not their size.
_SAME_SIZE = frozenset({None, "I1", "IMAT"})


def bits_per_weight(label: Label | None) -> float | None:
    """Return how many bits of a file a weight takes, `None` when the label does not tell.

    Labels with a tag or with a prefix such as `UD` are mixtures of their own.
    """
    if label is None or label.prefix not in _SAME_SIZE or label.tag not in (None, "imat"):
        return None
    return _BITS.get(label.label)


def needed_bytes(size_bytes: int) -> int:
    """Return the memory that running a model takes, for the size of all its files."""
    return size_bytes + max(MIN_ALLOWANCE, size_bytes // ALLOWANCE_SHARE)


def judge(needed_bytes: int, memory_bytes: int) -> Fit:
    """Return whether what needs so much can be run in so much."""
    if needed_bytes > memory_bytes:
        return Fit.TOO_LARGE
    keeps_enough = (memory_bytes - needed_bytes) * KEPT_FREE >= memory_bytes
    return Fit.FITS if keeps_enough else Fit.TIGHT
