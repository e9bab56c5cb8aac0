"""Quantization labels: how they are written, how they are found in a name, how they are ordered.

A *label* is a complete token: what stands before and after it is no letter and no digit. Hence
`F16` is not in `BF16`, nor `Q4_XS` in `IQ4_XS`, nor `Q2_0` in `PQ2_0`; the resolvers that search
for a substring get exactly these wrong. A name can hold several tokens:

* Real quantizations beat floats: `Q4_K_M-fp16` keeps some tensors in fp16, and
  `x.f16.gguf.Q4_K_M` was made from fp16.
* Among equals the last one wins: `gemma-qat-q4_0-unquantized.Q6_K`. After a dot it is the label and
  no more, as converters append it to the name of what they convert; after anything else the first
  one is a prefix, since both are about this file: `MXFP4_MOE-Q8_0` is not `Q8_0`.
* A bare `Q8` counts only at the end, and only when there is no real one: it is mostly a tag
  (`Q6_K-Q8`), and `Q3-30B` is a model.

The *tag* is what follows the label: another build of the same quantization. The words about
tuning that some publishers put last (`gemma_q4_0-it`) belong to the model instead.

Sources: `gguf.ts` of huggingface.js (the order, and the names that the Hub knows), llama.cpp's
ftypes, and the names of real files: ik_llama.cpp, unsloth, mradermacher, prism-ml, TurboQuant.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

__all__ = ["FLOATS", "Label", "find_label", "folder_label", "parse_label", "quality", "tag_key"]

FLOATS = frozenset({"BF16", "F16", "F32", "F64"})

# GGUF_QUANT_ORDER of huggingface.js, most bits first.
_ORDER = """
    F32 BF16 F16 Q8_K_XL Q8_0 Q6_K_XL Q6_K Q5_K_XL Q5_K_M Q5_K_S Q5_0 Q5_1 Q4_K_XL Q4_K_M Q4_K_S
    IQ4_NL IQ4_XS Q4_0_4_4 Q4_0_4_8 Q4_0_8_8 Q4_1_SOME_F16 Q4_0 Q4_1 Q4_2 Q4_3 MXFP4_MOE NVFP4
    Q3_K_XL Q3_K_L Q3_K_M Q3_K_S IQ3_M IQ3_S IQ3_XS IQ3_XXS Q2_K_XL Q2_K Q2_K_S IQ2_M IQ2_S IQ2_XS
    IQ2_XXS Q2_0 IQ1_S IQ1_M TQ1_0 TQ2_0 Q1_0
"""
_PLACE = {label: -float(place) for place, label in enumerate(_ORDER.split())}
_LAST = -float(len(_PLACE))
# Names that the order lacks; and 16 bits are nearer to 16 bits than to 8.
_PLACE |= {f"Q{bits}_K": _PLACE[f"Q{bits}_K_M"] for bits in "345"}
_PLACE |= {"MXFP4": _PLACE["MXFP4_MOE"], "BF16": _PLACE["F16"] + 0.25, "F64": 1.0}

_SIZE = "XXS|XXL|XS|XL|NL|S|M|L"
_LABEL = re.compile(
    rf"""
    (?<![A-Z0-9])
    (?:(?P<prefix>UD|I1|SMOL|IMAT|(?:BF16|FP?16|FP?32)(?=[-_.][A-Z]?Q[1-9]))[-_.])?
    (?:
      (?P<strong>
          Q[1-9][-_]?K (?:V|[-_]?(?:{_SIZE})|_[A-Z])? (?:_R[0-9])?    # Q4_K_M, Q4K, Q8_K_P, Q4_K_R4
        | [A-Z]?Q[1-9][-_][0-9][A-Z]{{0,2}}                           # Q4_0, TQ1_0, PQ2_0, TQ3_1S
          (?:_[0-9]_[0-9] | _G[0-9]+ | _SOME_F16 | _(?:{_SIZE}))?     # Q4_0_4_4, Q8_0_L
          (?:_R[0-9])?
        | Q[1-9]_(?:G[0-9]+|{_SIZE})                                  # Q2_g64
        | IQ[1-9](?:[-_]?(?:{_SIZE})|_[A-Z]{{1,3}}) (?:_(?:{_SIZE}))? (?:_R[0-9])?
        | I[1-9]_S                                                    # BitNet
        | MXFP[0-9] (?:[-_]MOE[0-9]*)? | NVFP[0-9] | NF4
      )
      | (?P<float>BF16 | FP?16 | FP?32 | FP?64)
      | (?P<bare>[IT]?Q[1-9]) (?=(?:[-_.](?:FP?16|FP?32|BF16|IMAT|MTP))*$)
    )
    (?![A-Z0-9])
    """,
    re.VERBOSE,
)
_GLUED = re.compile(rf"(?:(IQ[1-9])|(Q[1-9])(?:_?(K))?)_?({_SIZE})?(?=_|$)")
# Words after the label that are about the model, not about the build.
_BASE_WORDS = re.compile(r"^(?:(?:it|pt|instruct|chat|base|gguf)(?:[-.]+|$))+|(?:[-.]gguf)+$")


class Label(NamedTuple):
    """A quantization as a name or a user writes it.

    Attributes:
        label: In upper case with `_`, such as `Q4_K_M`; `F16` for fp16.
        prefix: `UD` (unsloth dynamic), `I1` (mradermacher's weighted), `SMOL`, `IMAT`, a float
            (`bf16-q8_0`: what the tensors are that are not `Q8_0`), or another label with what
            follows it (`MXFP4_MOE-Q8_0`).
        tag: What follows the label, in lower case, such as `fp16`, `mtp` or `3.57bpw`.
    """

    label: str
    prefix: str | None = None
    tag: str | None = None

    @property
    def is_mixed(self) -> bool:
        """Whether another quantization is its prefix, as of a build that has tensors of both."""
        other = None if self.prefix is None else parse_label(self.prefix)
        return other is not None and other.label not in FLOATS

    def __str__(self) -> str:
        return "-".join(part for part in (self.prefix, self.label, self.tag) if part)


@lru_cache(maxsize=1024)
def parse_label(text: str) -> Label | None:
    """Read what a user typed as a quantization: `[prefix-]label[-tag]`, in any case.

    Returns:
        The label, or `None` when `text` does not begin with one.
    """
    found = find_label(text)
    return found[1] if found is not None and found[0] == 0 else None


@lru_cache(maxsize=1024)
def folder_label(directory: str) -> Label | None:
    """Return the label of the nearest folder that has one (`UD-Q4_K_XL/`, `M-Q8_0/`)."""
    for name in reversed(directory.split("/")):
        found = find_label(name)
        if found is not None:
            return found[1]
    return None


def tag_key(tag: str | None) -> str | None:
    """Return `tag` with one spelling for one thing: `fp16` is `f16`."""
    return tag and re.sub(r"\bfp(?=16|32)", "f", tag)


def find_label(stem: str) -> tuple[int, Label] | None:
    """Return where the label that a name is about begins (with its prefix), and the label.

    Args:
        stem: A file's name without extension and shard suffix, or a folder's.
    """
    best: re.Match[str] | None = None
    grade, start = -1, 0
    text = stem.upper() if stem.isascii() else _ascii_upper(stem)
    for match in _LABEL.finditer(text):
        rank = 2 if match["strong"] else 1 if match["bare"] else 0
        if rank >= grade:
            if rank < 2 or grade < 2 or text[match.start() - 1] == ".":
                start = match.start()
            best, grade = match, rank
    if best is None:
        return None
    token = best[best.lastgroup or 0]
    if start == best.start():
        return start, _label(token, best["prefix"], stem[best.end() :])
    mixed = text[start : best.start(best.lastgroup or 0)].rstrip("-_ .")
    return start, Label(_normal(token), mixed, _tag(stem[best.end() :]))


@lru_cache(maxsize=1024)
def quality(label: str | None) -> float:
    """Return where a label stands in the Hub's order by bits per weight; more bits, more quality.

    Args:
        label: Normalised, without prefix and tag. An unknown one stands next to the known one
            that it extends (`Q6_K_L` just above `Q6_K`), else amid those with as many bits.
    """
    if label is None:
        return 2 * _LAST
    known = label
    while known:
        if known in _PLACE:
            return _PLACE[known] + (0.5 if known != label else 0.0)
        if f"I{known}" in _PLACE:  # Q4_XS was probably meant to be IQ4_XS
            return _PLACE[f"I{known}"]
        known = known.rpartition("_")[0]
    bits = "".join(re.findall("[1-9]", label)[:1])
    near = (_PLACE.get(f"Q{bits}_{size}") for size in ("K_M", "0", "K"))
    return next((found - 0.5 for found in near if found is not None), _LAST)


@lru_cache(maxsize=1024)  # a repository has many files and few labels
def _label(token: str, prefix: str | None, tail: str) -> Label:
    return Label(_normal(token), prefix and _normal(prefix), _tag(tail))


def _ascii_upper(text: str) -> str:
    """Upper case that leaves every character at its place; `str.upper` turns one sharp s to two."""
    return "".join(c.upper() if c.isascii() else c for c in text)


def _normal(token: str) -> str:
    """Give a label its usual spelling: `Q4KM` and `Q4_K-M` are `Q4_K_M`, `FP16` is `F16`."""
    if token.startswith("FP"):
        return f"F{token[2:]}"
    token = token.replace("-", "_")
    return _GLUED.sub(lambda m: "_".join(part for part in m.groups() if part), token, count=1)


def _tag(tail: str) -> str | None:
    if not tail:
        return None
    words = re.sub(r"[_\s]+", "-", tail.lower()).strip("-.")
    return _BASE_WORDS.sub("", words).strip("-.") or None
