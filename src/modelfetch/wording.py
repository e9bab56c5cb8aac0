"""How sizes and lists are put in messages."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["human_size", "listing", "printable"]

_MOST_LISTED = 30  # in a message; the fields of an error have everything


def human_size(size_bytes: int) -> str:
    """Return a size for people, in decimal units: `850 MB`, `4.9 GB`."""
    size, unit = float(size_bytes), "B"
    for larger in ("kB", "MB", "GB"):
        if size >= 1000:
            size, unit = size / 1000, larger
    return f"{size:.1f} GB" if unit == "GB" else f"{size:.0f} {unit}"


def listing(lead: str, shown: Sequence[str]) -> str | None:
    """Return `lead` and what there is, cut when it is long; `None` when there is nothing."""
    if not shown:
        return None
    more = len(shown) - _MOST_LISTED
    rest = [f"and {more} more"] if more > 0 else []
    return f"{lead}: {', '.join([*shown[:_MOST_LISTED], *rest])}."


def printable(text: object) -> str:
    """Return a text from strangers so that a terminal shows it, and does nothing it says."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in str(text)
    )
