"""A plan, for a person."""

from __future__ import annotations

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from modelfetch.types import ModelMetadata, Plan
from modelfetch.wording import printable

__all__ = ["show_plan"]


def _in_words(metadata: ModelMetadata | None) -> str | None:
    if metadata is None:
        return None
    parameters, context = metadata.parameter_count, metadata.context_length
    words = [
        metadata.architecture,
        f"{parameters / 1e9:.3g} B parameters" if parameters else None,
        f"{context:,} tokens of context" if context else None,
    ]
    return ", ".join(filter(None, words)) or None


def show_plan(plan: Plan) -> None:
    """Print a plan on stdout."""
    console = Console()
    table = Table(title=None, box=None, pad_edge=False)
    for name, justify in (("file", "left"), ("role", "left"), ("size", "right"), ("hash", "left")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for file in plan.files:
        hash_ = f"{file.blob_name[:16]}…" if file.sha256 or file.git_oid else "unknown"
        table.add_row(escape(file.path), file.role.value, decimal(file.size_bytes), hash_)
    label = escape(plan.quantization or "")
    console.print(f"[bold]{escape(plan.repo)}[/]  {label}", highlight=False)
    console.print(f"commit {plan.commit}", highlight=False)
    console.print(escape(plan.rule), highlight=False)
    if (about := _in_words(plan.metadata)) is not None:
        console.print(escape(printable(about)), highlight=False)
    console.print(table)
    console.print(f"total {decimal(plan.total_size_bytes)}", highlight=False)
