"""What `modelfetch quants` prints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from modelfetch.offers import Fit, ModelVariants, Sidecar, VariantInfo

__all__ = ["show_variants"]

_PIPED_WIDTH = 200  # columns, so that a line of the table is a line of the file
_FITS = {
    Fit.FITS: "[green]fits[/]",
    Fit.TIGHT: "[yellow]tight[/]",
    Fit.TOO_LARGE: "[red]too large[/]",
}


def show_variants(offered: ModelVariants) -> None:
    """Print what a repository offers on stdout."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _PIPED_WIDTH)
    console.print(f"[bold]{escape(offered.repo)}[/]  {escape(_where(offered))}", soft_wrap=True)
    if offered.resolution is not None:
        console.print(escape(offered.resolution), soft_wrap=True)
    console.print(_table(offered))
    for line in _notes(offered):
        console.print(escape(line), soft_wrap=not console.is_terminal)


def _where(offered: ModelVariants) -> str:
    at = f"{offered.revision} at {offered.commit[:12]}"
    return f"{at}, from the cache: the Hub was not asked" if offered.from_cache else at


def _table(offered: ModelVariants) -> Table:
    memory = offered.memory_bytes
    fits = "memory" if memory is None else f"in {decimal(memory)}"
    columns: list[tuple[str, Callable[[VariantInfo], str]]] = [
        ("", _mark),
        ("quantization", lambda variant: escape(variant.selector)),
        ("size", lambda variant: decimal(variant.size_bytes)),
        ("files", _files),
        ("bits", lambda variant: f"{variant.bits_per_weight or 0:.2f}".replace("0.00", "")),
        ("with it", lambda variant: ", ".join(_sidecar(file) for file in variant.sidecars)),
        ("on disk", _on_disk),
        (fits, lambda variant: "" if variant.fit is None else _FITS[variant.fit]),
    ]
    # A column in which nothing is said takes its room from the names.
    told = [(name, cell) for name, cell in columns if any(map(cell, offered.variants))]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, _ in told:
        right = name in ("size", "files", "bits")
        justify: Literal["left", "right"] = "right" if right else "left"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name != "quantization")
    for variant in offered.variants:
        cells = [cell(variant) for _, cell in told]
        table.add_row(*cells, style="bold" if variant.is_default else None)
    return table


def _mark(variant: VariantInfo) -> str:
    return ("*" if variant.is_default else "") + ("+" if variant.is_auto else "")


def _files(variant: VariantInfo) -> str:
    count = len(variant.paths)
    if variant.missing:
        return f"{count} of {count + len(variant.missing)}!"
    return f"{count} parts" if variant.joined_path is not None else str(count)


def _sidecar(file: Sidecar) -> str:
    return f"{file.role.value} {decimal(file.size_bytes)}"


def _on_disk(variant: VariantInfo) -> str:
    if not variant.downloaded_bytes:
        return ""
    percent = variant.downloaded_percent
    return "[green]complete[/]" if percent == 100 else f"{percent} %"


def _notes(offered: ModelVariants) -> list[str]:
    notes = [
        f"* {offered.default_rule}" if offered.default else f"No default: {offered.default_rule}",
        f"+ {offered.auto_rule}" if offered.auto else f"No auto: {offered.auto_rule}",
    ]
    if any(variant.missing for variant in offered.variants):
        notes.append("! The repository lacks files of this one: it cannot be had.")
    if any(variant.joined_path for variant in offered.variants):
        notes.append("Parts are cut at some byte, and are joined when all of them are there.")
    if offered.others:
        listed = ", ".join(f"{file.path} ({_sidecar(file)})" for file in offered.others)
        notes.append(f"Also there, and never taken for the model: {listed}")
    return notes
