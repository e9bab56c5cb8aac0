"""What commands share that run an engine: how they end, and how a job is followed to its end."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

import click

import modelfetch
from modelfetch.cli.display import choose_display
from modelfetch.core.job import REASONS, JobInput
from modelfetch.errors import (
    AccessDenied,
    AmbiguousQuantization,
    HubUnavailable,
    IncompleteModel,
    InsufficientMemory,
    IntegrityError,
    InvalidConfiguration,
    InvalidReference,
    JobNotFound,
    ModelFetchError,
    ModelNotFound,
    NetworkError,
    QuantizationNotFound,
    RevisionNotFound,
    StorageError,
    UnusableModel,
)
from modelfetch.types import LocalModel
from modelfetch.wording import printable

__all__ = ["exit_code", "fail", "followed", "guarded", "without_secrets"]

_T = TypeVar("_T")

_INTERRUPTED = 130
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
            JobNotFound,
        ),
        3,
    ),
    ((AccessDenied,), 4),
    ((HubUnavailable, NetworkError), 5),
    ((StorageError,), 6),
    ((IntegrityError, UnusableModel), 7),
)


def exit_code(error: ModelFetchError) -> int:
    """Return the exit code that tells a script what kind of thing went wrong."""
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), 1)


async def followed(job: modelfetch.Job, as_json: bool) -> LocalModel:
    """Show a job until it is over, and return its model.

    Somebody else may pause it: then it waits for whoever resumes it.

    Raises:
        ModelFetchError: As `Job.result`.
    """
    with choose_display(as_json, job.plan) as display:
        async for status in job.events():
            display.show(status)
            if status.pause_reason == REASONS[JobInput.DISK_FULL]:
                break  # the result is that error
        return await job.result()


def guarded(work: Coroutine[Any, Any, _T], as_json: bool) -> _T:
    """Run `work` and return what it returns; exit with the code of its error."""
    try:
        return asyncio.run(work)
    except ModelFetchError as error:
        fail(error, as_json)
    except KeyboardInterrupt:
        again = shlex.join(["modelfetch", *without_secrets(sys.argv[1:])])
        click.echo(f"\nStopped. What came is kept; go on with: {again}", err=True)
        sys.exit(_INTERRUPTED)


def fail(error: ModelFetchError, as_json: bool) -> NoReturn:
    """Say what went wrong, and exit."""
    if as_json:
        click.echo(json.dumps({"error": error.to_dict()}))
    click.echo(f"modelfetch: {printable(error)}", err=True)
    sys.exit(exit_code(error))


def without_secrets(words: list[str]) -> list[str]:
    """Return a command's words less those that may hold a secret, which have none in a log."""
    secret = ("--token", "--api-token", "--proxy", "--header")
    after_secret = [False, *(word in secret for word in words)]
    return [
        word
        for word, is_value in zip(words, after_secret, strict=False)
        if not is_value and not word.startswith(secret)
    ]
