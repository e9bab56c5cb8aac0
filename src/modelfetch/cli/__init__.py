"""The command line: `get`, `plan`, `quants`, `serve` and `demo`, and commands that are found later.

What a command needs is imported when it runs: a start should not take longer for what is not used.
"""

from __future__ import annotations

import json
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

import modelfetch
from modelfetch._version import __version__
from modelfetch.blocking import by_itself
from modelfetch.cli.display import JsonLines, show_saved
from modelfetch.cli.options import (
    ENGINE_OPTIONS,
    MODEL_OPTIONS,
    PLAN_OPTIONS,
    SERVER_OPTIONS,
    TRANSFER_OPTIONS,
    config_of,
    options,
)
from modelfetch.cli.running import exit_code, fail, followed, guarded
from modelfetch.errors import ModelFetchError
from modelfetch.types import LocalModel, Plan

__all__ = ["exit_code", "run"]


# command -> its module
_LATER = {**dict.fromkeys(("ls", "verify", "rm", "prune", "du"), "cache"), "jobs": "jobs"}


class _Commands(click.Group):
    """A group that imports some of its commands when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.commands, *_LATER})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _LATER:
            commands = import_module(f"modelfetch.cli.{_LATER[cmd_name]}").COMMANDS
            for command in commands:
                self.add_command(command)
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="modelfetch")
def _cli() -> None:
    """A model id and a quantization in, verified GGUF files on disk out."""


@_cli.command()
@options(*PLAN_OPTIONS, *TRANSFER_OPTIONS)
def get(
    model: str, quantization: str | None, revision: str | None, as_json: bool, **settings: Any
) -> None:
    """Download MODEL, or find it in the cache, and print its path.

    MODEL is owner/name, owner/name:QUANT, owner/name@revision, a link to the Hub, or an id of LM
    Studio's catalogue such as qwen/qwen3-4b-2507.
    """

    async def work() -> tuple[modelfetch.Job, LocalModel]:
        async with modelfetch.Engine(by_itself(config_of(settings))) as engine:
            job = await engine.download(model, quantization, revision=revision)
            return job, await followed(job, as_json)

    job, result = guarded(work(), as_json)
    show_saved(job.status)
    if as_json:
        JsonLines.finish(job.status, result)
    else:
        click.echo(result.path)


@_cli.command()
@options(*PLAN_OPTIONS)
def plan(
    model: str, quantization: str | None, revision: str | None, as_json: bool, **settings: Any
) -> None:
    """Show what MODEL comes down to; downloads nothing."""
    from modelfetch.cli.planned import show_plan

    async def work() -> Plan:
        async with modelfetch.Engine(by_itself(config_of(settings))) as engine:
            return await engine.plan(model, quantization, revision=revision)

    result = guarded(work(), as_json)
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2))
    else:
        show_plan(result)


@_cli.command()
@options(*MODEL_OPTIONS)
def quants(model: str, revision: str | None, as_json: bool, **settings: Any) -> None:
    """List what MODEL comes in, what is on disk, and what fits in the memory."""
    from modelfetch.cli.quants import show_variants

    async def work() -> modelfetch.ModelVariants:
        async with modelfetch.Engine(by_itself(config_of(settings))) as engine:
            return await engine.variants(model, revision=revision)

    result = guarded(work(), as_json)
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2))
    else:
        show_variants(result)


@_cli.command()
@options(*SERVER_OPTIONS, *ENGINE_OPTIONS, *TRANSFER_OPTIONS)
def serve(
    host: str,
    port: int,
    api_token: str | None,
    allow_host: tuple[str, ...],
    allow_origin: tuple[str, ...],
    **settings: Any,
) -> None:
    """Serve LM Studio's download API over HTTP, until Ctrl-C or SIGTERM."""
    from modelfetch.cli.serve import serve_until_stopped
    from modelfetch.web.settings import WebConfig

    async def work() -> None:
        web = WebConfig(api_token=api_token, allowed_hosts=allow_host, allow_origins=allow_origin)
        await serve_until_stopped(config_of(settings), web, host, port)

    guarded(work(), as_json=False)


@_cli.command()
@click.option("--size", default=64, show_default=True, metavar="MB", type=click.IntRange(1, 4096))
@click.option("--keep", type=click.Path(path_type=Path), help="Use and keep this folder.")
def demo(size: int, keep: Path | None) -> None:
    """Download from a Hub inside this machine, be killed half-way, and go on."""
    from modelfetch.cli.demo import show

    try:
        sys.exit(show(size, keep))
    except ModelFetchError as error:
        fail(error, as_json=False)


def run() -> None:
    """Run the command line and exit."""
    # What stops a service stops a download in the same clean way as Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    _cli(prog_name="modelfetch")
