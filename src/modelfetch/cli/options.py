"""The options of the command line; each has an environment variable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from modelfetch.config import LAYOUTS, Config, parse_rate
from modelfetch.core.sizes import parse_size
from modelfetch.settings import names_of, proxy_of, token_of

__all__ = [
    "ENGINE_OPTIONS",
    "JOB_OPTIONS",
    "MODEL_OPTIONS",
    "PLAN_OPTIONS",
    "SERVER_OPTIONS",
    "TRANSFER_OPTIONS",
    "config_of",
    "options",
]


class _Rate(click.ParamType[float]):
    name = "rate"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        try:
            return parse_rate(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Field(click.ParamType[tuple[str, str]]):
    name = "field"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str]:
        name, colon, text = str(value).partition(":")
        if not colon:
            self.fail("it is not 'NAME: VALUE'", param, ctx)  # which may be a secret
        return name.strip(), text.strip()


class _Size(click.ParamType[int]):
    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        try:
            return parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def option(*names: str, help: str, **settings: Any) -> Callable[[Any], Any]:
    """Return an option that `MODELFETCH_<NAME>` sets too."""
    name = max(names, key=len).removeprefix("--").replace("-", "_").upper()
    env = f"MODELFETCH_{name}"
    return click.option(*names, help=help, envvar=env, show_envvar=True, **settings)


_CACHE_DIR = option("--cache-dir", type=click.Path(path_type=Path), help="Root of the cache.")
_ENDPOINT = option("--endpoint", metavar="URL", help="The Hub; HF_ENDPOINT sets it too.")
_TOKEN = option("--token", help="Access token; HF_TOKEN sets it too.")
_CONNECTIONS = option("--connections", type=int, metavar="N", help="At once, over all files.")
_LIMIT_RATE = option("--limit-rate", type=_Rate(), help="Such as 20M: bytes per second, at most.")
_NETWORK = (
    _CACHE_DIR,
    _ENDPOINT,
    option("--endpoints", metavar="URL,URL", help="In this order, --endpoint among them."),
    _TOKEN,
    option("--proxy", metavar="URL", help="Such as http://proxy.example:3128; 0: none."),
    option("--ca-bundle", type=click.Path(path_type=Path), help="Certificates to trust."),
    click.option(
        "--header",
        "headers",
        type=_Field(),
        multiple=True,
        metavar="'NAME: VALUE'",
        help="Sent to the endpoint only; may be given again.  [env var: MODELFETCH_HEADERS]",
    ),
    option("--allow-http-token", is_flag=True, help="Send it over http, for all to read."),
)
JOB_OPTIONS = (*_NETWORK, _CONNECTIONS, _LIMIT_RATE)
ENGINE_OPTIONS = (
    *_NETWORK,
    option("--no-mmproj", is_flag=True, help="Leave out the multimodal projector."),
    option("--catalog", type=click.Path(path_type=Path), help="A model.yaml, or a folder of such."),
    click.option(
        "--any-publisher",
        "allow_conversions",
        is_flag=True,
        envvar="MODELFETCH_ALLOW_CONVERSIONS",
        show_envvar=True,
        help="Take somebody's GGUF conversion of a model that has none itself.",
    ),
    option("--memory", type=_Size(), help="Such as 12G: what a model may use; else what is free."),
)
MODEL_OPTIONS = (
    click.argument("model"),
    option("--revision", metavar="R", help="Branch, tag, refs/pr/N or commit."),
    *ENGINE_OPTIONS,
    click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs."),
)
_QUANTIZATION = "Such as Q4_K_M, or a file; auto: the best that fits in the memory."
PLAN_OPTIONS = (
    *MODEL_OPTIONS,
    option("-q", "--quantization", metavar="QUANT", help=_QUANTIZATION),
)
TRANSFER_OPTIONS = (
    _CONNECTIONS,
    _LIMIT_RATE,
    option(
        "--adopt-from",
        type=click.Path(path_type=Path),
        multiple=True,
        help="A folder to look for the files in before they are fetched; may be given again.",
    ),
    click.option(
        "--no-adopt",
        is_flag=True,
        help="Fetch what other programs here have, too.  [env var: MODELFETCH_ADOPT=0]",
    ),
    option("--local-dir", type=click.Path(path_type=Path), help="Put the files here too."),
    option(
        "--layout",
        type=click.Choice(LAYOUTS),
        help="In --local-dir: <file>, or LM Studio's <owner>/<repository>/<file>.",
    ),
)
SERVER_OPTIONS = (
    option("--host", default="127.0.0.1", show_default=True, help="Where to listen."),
    option(
        "--port", default=1234, show_default=True, type=click.IntRange(0, 65535), help="0: any."
    ),
    option("--api-token", help="What callers must send as bearer token."),
    option("--allow-host", multiple=True, help="A name by which a local proxy calls it."),
    option("--allow-origin", multiple=True, help="Of web pages that may call it."),
)


def options(*wanted: Callable[[Any], Any]) -> Callable[[Callable[..., None]], Any]:
    """Return a decorator that gives a command these options, shown in this order."""

    def decorate(command: Callable[..., None]) -> Any:
        for each in reversed(wanted):
            command = each(command)
        return command

    return decorate


# Options that are called otherwise than their setting, and those whose text has to be read.
_SETTINGS = {"memory": "memory_bytes", "limit_rate": "max_bytes_per_second"}
_READ: dict[str, Callable[[str], Any]] = {
    "token": token_of,
    "endpoints": names_of,
    "proxy": proxy_of,
}


def config_of(given: Mapping[str, Any]) -> Config:
    """Return the settings of a command, whichever of the options it has.

    Args:
        given: The values of options by name; one that is `None`, or empty, was not given.
    """
    there = {name: value for name, value in given.items() if value not in (None, ())}
    if there.pop("no_mmproj", False):
        there["include_mmproj"] = False
    if there.pop("no_adopt", False):
        there["adopt"] = False
    if "headers" in there:
        there["headers"] = dict(there["headers"])
    for name, read in _READ.items():
        if name in there:
            there[name] = read(there[name])
    return Config(**{_SETTINGS.get(name, name): value for name, value in there.items()})
