"""Sizes as people write them."""

from __future__ import annotations

import re

__all__ = ["parse_size"]

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgt]?)(i?)b?", re.IGNORECASE | re.ASCII)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str) -> int:
    """Return the bytes that `12G`, `12GB` (decimal), `12GiB` (binary) or `800M` mean.

    Raises:
        ValueError: It is none of those, or zero.
    """
    match = _SIZE.fullmatch(text.strip())
    size = 0
    if match is not None:
        size = int(float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2].lower()])
    if size <= 0:
        raise ValueError(f"{text!r} is not a size; try 12G for 12 billion bytes, or 12GiB")
    return size
