"""The command line: `get`, `plan`, `quants` and `demo`; `cli.cache` has the housekeeping."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from modelfetch._version import __version__
from modelfetch.cli.cache import COMMANDS
from modelfetch.cli.display import JsonLines, choose_display, show_adopted, show_plan
from modelfetch.cli.quants import show_variants
from modelfetch.config import LAYOUTS, Config, parse_rate
from modelfetch.core.fit import parse_size
from modelfetch.engine import Engine
from modelfetch.errors import (
    AccessDenied,
    AmbiguousQuantization,
    HubUnavailable,
    IncompleteModel,
    InsufficientMemory,
    IntegrityError,
    InvalidConfiguration,
    InvalidReference,
    ModelFetchError,
    ModelNotFound,
    NetworkError,
    QuantizationNotFound,
    RevisionNotFound,
    StorageError,
)
from modelfetch.jobs import Job
from modelfetch.offers import ModelVariants
from modelfetch.status import JobState
from modelfetch.types import LocalModel, Plan

__all__ = ["exit_code", "run"]

_T = TypeVar("_T")

INTERRUPTED = 130
_CODES: tuple[tuple[tuple[type[ModelFetchError], ...], int], ...] = (
    ((InvalidReference, InvalidConfiguration), 2),
    (
        (
            ModelNotFound,
            RevisionNotFound,
            QuantizationNotFound,
            AmbiguousQuantization,
            IncompleteModel,
            InsufficientMemory,
        ),
        3,
    ),
    ((AccessDenied,), 4),
    ((HubUnavailable, NetworkError), 5),
    ((StorageError,), 6),
    ((IntegrityError,), 7),
)


def exit_code(error: ModelFetchError) -> int:
    """Return the exit code that tells a script what kind of thing went wrong."""
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), 1)


class _Rate(click.ParamType[float]):
    name = "rate"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        try:
            return parse_rate(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Size(click.ParamType[int]):
    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        try:
            return parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _option(*names: str, help: str, **settings: Any) -> Callable[[Any], Any]:
    """Return an option that `MODELFETCH_<NAME>` sets too."""
    name = max(names, key=len).removeprefix("--").replace("-", "_").upper()
    env = f"MODELFETCH_{name}"
    return click.option(*names, help=help, envvar=env, show_envvar=True, **settings)


_MODEL_OPTIONS = (
    click.argument("model"),
    _option("--revision", metavar="R", help="Branch, tag, refs/pr/N or commit."),
    _option("--cache-dir", type=click.Path(path_type=Path), help="Root of the cache."),
    _option("--endpoint", metavar="URL", help="The Hub; HF_ENDPOINT sets it too."),
    _option("--token", help="Access token; HF_TOKEN sets it too."),
    _option("--no-mmproj", is_flag=True, help="Leave out the multimodal projector."),
    _option(
        "--catalog", type=click.Path(path_type=Path), help="A model.yaml, or a folder of such."
    ),
    click.option(
        "--any-publisher",
        "allow_conversions",
        is_flag=True,
        envvar="MODELFETCH_ALLOW_CONVERSIONS",
        show_envvar=True,
        help="Take somebody's GGUF conversion of a model that has none itself.",
    ),
    _option("--memory", type=_Size(), help="Such as 12G: what a model may use; else what is free."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs."),
)
_QUANTIZATION = "Such as Q4_K_M, or a file; auto: the best that fits in the memory."
_PLAN_OPTIONS = (
    *_MODEL_OPTIONS,
    _option("-q", "--quantization", metavar="QUANT", help=_QUANTIZATION),
)
_TRANSFER_OPTIONS = (
    _option("--connections", type=int, metavar="N", help="At once, over all files."),
    _option("--limit-rate", type=_Rate(), help="Such as 20M: bytes per second, at most."),
    _option(
        "--adopt-from",
        type=click.Path(path_type=Path),
        multiple=True,
        help="A folder to look for the files in before they are fetched; may be given again.",
    ),
    click.option("--no-adopt", is_flag=True, help="Fetch what other programs here have, too."),
    _option("--local-dir", type=click.Path(path_type=Path), help="Put the files here too."),
    _option(
        "--layout",
        type=click.Choice(LAYOUTS),
        help="In --local-dir: <file>, or LM Studio's <owner>/<repository>/<file>.",
    ),
)


def _options(*options: Callable[[Any], Any]) -> Callable[[Callable[..., None]], Any]:
    def decorate(command: Callable[..., None]) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="modelfetch")
def _cli() -> None:
    """A model id and a quantization in, verified GGUF files on disk out."""


@_cli.command()
@_options(*_PLAN_OPTIONS, *_TRANSFER_OPTIONS)
def get(
    model: str, quantization: str | None, revision: str | None, as_json: bool, **settings: Any
) -> None:
    """Download MODEL, or find it in the cache, and print its path.

    MODEL is owner/name, owner/name:QUANT, owner/name@revision, a link to the Hub, or an id of LM
    Studio's catalogue such as qwen/qwen3-4b-2507.
    """

    async def work() -> tuple[Job, LocalModel]:
        async with Engine(_config(settings)) as engine:
            job = await engine.download(model, quantization, revision=revision)
            with choose_display(as_json, job.plan) as display:
                async for status in job.events():
                    display.show(status)
                    if status.state is JobState.PAUSED:
                        break  # the disk is full; the result is that error
                return job, await job.result()

    job, result = _guarded(work(), as_json)
    show_adopted(job.status)
    if as_json:
        JsonLines.finish(job.status, result)
    else:
        click.echo(result.path)


@_cli.command()
@_options(*_PLAN_OPTIONS)
def plan(
    model: str, quantization: str | None, revision: str | None, as_json: bool, **settings: Any
) -> None:
    """Show what MODEL comes down to; downloads nothing."""

    async def work() -> Plan:
        async with Engine(_config(settings)) as engine:
            return await engine.plan(model, quantization, revision=revision)

    result = _guarded(work(), as_json)
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2))
    else:
        show_plan(result)


@_cli.command()
@_options(*_MODEL_OPTIONS)
def quants(model: str, revision: str | None, as_json: bool, **settings: Any) -> None:
    """List what MODEL comes in, what is on disk, and what fits in the memory."""

    async def work() -> ModelVariants:
        async with Engine(_config(settings)) as engine:
            return await engine.variants(model, revision=revision)

    result = _guarded(work(), as_json)
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2))
    else:
        show_variants(result)


@_cli.command()
@click.option("--size", default=64, show_default=True, metavar="MB", type=click.IntRange(1, 4096))
@click.option("--keep", type=click.Path(path_type=Path), help="Use and keep this folder.")
def demo(size: int, keep: Path | None) -> None:
    """Download from a Hub inside this machine, be killed half-way, and go on."""
    from modelfetch.cli.demo import show

    try:
        sys.exit(show(size, keep))
    except ModelFetchError as error:
        _fail(error, as_json=False)


for _command in COMMANDS:
    _cli.add_command(_command)


def run() -> None:
    """Run the command line and exit."""
    # What stops a service stops a download in the same clean way as Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    _cli(prog_name="modelfetch")


def _config(settings: dict[str, Any]) -> Config:
    given = {name: value for name, value in settings.items() if value is not None}
    if given.pop("no_mmproj"):
        given["include_mmproj"] = False
    if given.pop("no_adopt", False):
        given["adopt"] = False
    if not given.get("adopt_from"):
        given.pop("adopt_from", None)
    if "memory" in given:
        given["memory_bytes"] = given.pop("memory")
    if "limit_rate" in given:
        given["max_bytes_per_second"] = given.pop("limit_rate")
    return Config(**given)


def _guarded(work: Coroutine[Any, Any, _T], as_json: bool) -> _T:
    try:
        return asyncio.run(work)
    except ModelFetchError as error:
        _fail(error, as_json)
    except KeyboardInterrupt:
        again = shlex.join(["modelfetch", *_without_token(sys.argv[1:])])
        click.echo(f"\nStopped. What came is kept; go on with: {again}", err=True)
        sys.exit(INTERRUPTED)


def _without_token(words: list[str]) -> list[str]:
    """Return a command's words less the token, which has no business in a log."""
    after_token = [False, *(word == "--token" for word in words)]
    return [
        word
        for word, is_value in zip(words, after_token, strict=False)
        if not is_value and not word.startswith("--token")
    ]


def _fail(error: ModelFetchError, as_json: bool) -> NoReturn:
    if as_json:
        click.echo(json.dumps({"error": error.to_dict()}))
    click.echo(f"modelfetch: {error}", err=True)
    sys.exit(exit_code(error))
