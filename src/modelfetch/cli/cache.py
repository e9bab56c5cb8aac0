"""`modelfetch ls`, `verify`, `rm`, `prune` and `du`: housekeeping of the cache."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

import modelfetch
from modelfetch.blocking import by_itself
from modelfetch.cache import DEFAULT_AGE, Cache
from modelfetch.cli.options import config_of
from modelfetch.cli.running import fail
from modelfetch.errors import ModelFetchError
from modelfetch.inventory import CachedBuild, CachedModel, CachedPartial, Removal, Verification
from modelfetch.repairs import repair as repair_files
from modelfetch.wording import printable

__all__ = ["COMMANDS", "new_table", "show_table"]

_PIPED_WIDTH = 200  # columns, so that a line of the table is a line of the file
_INTEGRITY = 7
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class _Age(click.ParamType[float]):
    name = "age"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        match = _AGE.fullmatch(str(value).strip().lower())
        if match is None:
            self.fail(f"{value!r} is not an age; try 30m, 12h or 7d", param, ctx)
        return float(match[1]) * _SECONDS[match[2]]


class _Command(click.Command):
    """A command that ends in the exit code of its error."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModelFetchError as error:
            fail(error, bool(ctx.params.get("as_json")))


def _command(name: str, *options: Callable[[Any], Any]) -> Callable[[Callable[..., None]], Any]:
    common = (
        click.option(
            "--cache-dir",
            type=click.Path(path_type=Path),
            envvar="MODELFETCH_CACHE_DIR",
            show_envvar=True,
            help="Root of the cache.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs."),
    )

    def decorate(function: Callable[..., None]) -> Any:
        for option in reversed([*options, *common]):
            function = option(function)
        return click.command(name, cls=_Command)(function)

    return decorate


@_command("ls")
def _ls(cache_dir: Path | None, as_json: bool) -> None:
    """List the models in the cache, and downloads that are not finished."""
    models = Cache(cache_dir).models()
    if as_json:
        click.echo(json.dumps([model.to_dict() for model in models], indent=2))
        return
    table = new_table("repository", "quantization", ">size", ">files", "revision", "last used")
    for model in models:
        for row in _rows(model):
            table.add_row(escape(model.repo), *row)
    show_table(table)


@_command(
    "verify",
    click.argument("model", required=False),
    click.option("--repair", is_flag=True, help="Fetch what is damaged, and nothing else."),
    click.option("--endpoint", metavar="URL", envvar="MODELFETCH_ENDPOINT", help="The Hub."),
    click.option("--token", envvar="MODELFETCH_TOKEN", help="Access token."),
)
def _verify(
    model: str | None,
    repair: bool,
    cache_dir: Path | None,
    as_json: bool,
    endpoint: str | None,
    token: str | None,
) -> None:
    """Hash all finished files, or those of MODEL, and compare with what their names promise."""
    cache = Cache(cache_dir)
    console = Console(stderr=True)
    with console.status("Hashing") as status:
        done = 0

        def on_bytes(count: int) -> None:
            nonlocal done
            if done >> 28 != (done + count) >> 28:
                status.update(f"Hashing: {decimal(done + count)}")
            done += count

        found = cache.verify(model, repair=repair, on_bytes=on_bytes)
    failed: dict[str, ModelFetchError] = {}
    if repair and found.damaged:
        config = config_of({"endpoint": endpoint, "token": token, "cache_dir": cache.cache_dir})

        async def work() -> dict[str, ModelFetchError]:
            async with modelfetch.Engine(by_itself(config)) as engine:
                return await repair_files(engine, found.damaged)

        failed = asyncio.run(work())
    if as_json:
        errors = {repo: error.to_dict() for repo, error in failed.items()}
        click.echo(json.dumps({**found.to_dict(), "repair": repair, "errors": errors}, indent=2))
    else:
        _show_verification(found, repair, failed)
    is_repaired = repair and not failed and all(file.marked for file in found.damaged)
    if found.broken_links or (found.damaged and not is_repaired):
        sys.exit(_INTEGRITY)


@_command(
    "rm",
    click.argument("model"),
    click.option("-q", "--quantization", metavar="QUANT", help="Only this one, such as Q4_K_M."),
)
def _rm(model: str, quantization: str | None, cache_dir: Path | None, as_json: bool) -> None:
    """Remove MODEL from the cache, or one quantization of it (MODEL:QUANT)."""
    removal = Cache(cache_dir).remove(model, quantization)
    _show_removal(removal, as_json)


@_command(
    "prune",
    click.option("--yes", is_flag=True, help="Remove it; without this it is only listed."),
    click.option(
        "--older-than",
        type=_Age(),
        default=f"{DEFAULT_AGE / 60:.0f}m",
        show_default=True,
        metavar="AGE",
        help="Such as 7d: what was changed since then stays.",
    ),
)
def _prune(yes: bool, older_than: float, cache_dir: Path | None, as_json: bool) -> None:
    """Remove unfinished downloads, those of paused jobs too, and what no ref names."""
    removal = Cache(cache_dir).prune(dry_run=not yes, older_than=older_than)
    _show_removal(removal, as_json)
    if removal.dry_run and removal.items and not as_json:
        click.echo("Nothing is removed yet; --yes does it.", err=True)


@_command("du")
def _du(cache_dir: Path | None, as_json: bool) -> None:
    """Show what the cache takes of the disk."""
    usage = Cache(cache_dir).disk_usage()
    if as_json:
        click.echo(json.dumps(usage.to_dict(), indent=2))
        return
    table = new_table(">size", "what")
    for repo, size in usage.repos:
        table.add_row(decimal(size), escape(repo))
    rest: tuple[tuple[int | None, str], ...] = (
        (usage.shared_bytes, "shared between repositories by huggingface_hub"),
        (usage.other_bytes, "other files"),
        (usage.total_bytes, "in all"),
        (usage.partial_bytes, "of it unfinished downloads"),
        (usage.free_bytes, "free"),
    )
    for number, what in rest:
        if number is not None:
            table.add_row(decimal(number), f"[dim]{what}[/]")
    show_table(table)


COMMANDS: tuple[click.Command, ...] = (_ls, _verify, _rm, _prune, _du)


def _rows(model: CachedModel) -> list[tuple[str, ...]]:
    now = time.time()
    rows = [_build_row(build, now) for build in model.builds]
    rows.extend(_partial_row(partial, now) for partial in model.partials)
    if not rows:
        used = "" if model.last_used is None else _ago(now - model.last_used)
        rows.append(
            ("[dim]no model[/]", decimal(model.size_bytes), str(len(model.others)), "", used)
        )
    return rows


def _build_row(build: CachedBuild, now: float) -> tuple[str, ...]:
    count = len(build.paths)
    files = f"[red]{count} of {count + len(build.missing)}[/]" if build.missing else str(count)
    revision = ", ".join(build.refs) or build.commit[:12]
    return (
        escape(printable(build.selector)),
        decimal(build.size_bytes),
        files,
        escape(printable(revision)),
        _ago(now - build.last_used),
    )


def _partial_row(partial: CachedPartial, now: float) -> tuple[str, ...]:
    percent = "?" if partial.percent is None else f"{partial.percent} %"
    whole = "" if partial.size_bytes is None else f" of {decimal(partial.size_bytes)}"
    return (
        f"[yellow]unfinished, {percent}[/]",
        f"{decimal(partial.held_bytes)}{whole}",
        "1",
        f"[dim]{escape(printable(partial.blob[:12]))}[/]",
        "[green]running[/]" if partial.in_use else _ago(now - partial.modified),
    )


def _show_verification(
    found: Verification, repair: bool, failed: dict[str, ModelFetchError]
) -> None:
    for file in found.damaged:
        names = ", ".join(sorted({path for _, path in file.names})) or file.blob
        state = "it is in use" if repair and not file.marked else ""
        if repair and file.marked:
            state = "NOT repaired" if file.repo in failed else "repaired"
        size = decimal(file.damaged_bytes)
        told = f"damaged: {file.repo} {names} ({size} to fetch) {state}".rstrip()
        click.echo(printable(told))
    for path in found.broken_links:
        click.echo(printable(f"leads nowhere: {path}"))
    for path in found.unverifiable:
        click.echo(printable(f"no hash is known: {path}"))
    for repo, error in failed.items():
        click.echo(f"modelfetch: {repo}: {error}", err=True)
    verdict = "all sound" if found.is_sound else f"{len(found.damaged)} damaged"
    click.echo(f"{found.checked_files} files, {decimal(found.checked_bytes)}: {verdict}")


def _show_removal(removal: Removal, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(removal.to_dict(), indent=2))
        return
    # Not a table: paths are long, and are copied.
    for item in removal.items:
        click.echo(printable(f"{decimal(item.freed_bytes):>10}  {item.path}  ({item.reason})"))
    for text in removal.kept:
        click.echo(printable(f"kept: {text}"), err=True)
    verb = "would be freed" if removal.dry_run else "freed"
    click.echo(f"{decimal(removal.freed_bytes)} {verb}")


def new_table(*columns: str) -> Table:
    """Return a table without lines; a column whose name begins with `>` has numbers."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        right = name.startswith(">")
        table.add_column(
            name.lstrip(">"), justify="right" if right else "left", overflow="fold", no_wrap=right
        )
    return table


def show_table(table: Table) -> None:
    """Print a table on stdout, a line for each row where that is no terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _PIPED_WIDTH)
    console.print(table)


def _ago(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return "just now"
