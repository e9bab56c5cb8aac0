"""`modelfetch serve`: the HTTP API until somebody stops it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator

import click

from modelfetch._version import __version__
from modelfetch.config import Config
from modelfetch.engine import Engine
from modelfetch.status import JobState, JobStatus
from modelfetch.web.server import running
from modelfetch.web.settings import WebConfig

__all__ = ["serve_until_stopped"]

_log = logging.getLogger("modelfetch.serve")


async def serve_until_stopped(config: Config, web: WebConfig, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM, then pause the jobs and return; a second one ends at once.

    Prints the URL on stdout once it answers.

    Raises:
        InvalidConfiguration: See `running`.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # It would log every malformed request of a stranger, with a traceback.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    _log.setLevel(logging.INFO)
    with _signalled() as stopped:
        async with Engine(config) as engine, running(engine, host, port, web) as url:
            _greet(url, config, web)
            engine.on_status(_StateLog())
            await stopped.wait()
            click.echo("Stopping: downloads are paused, what came is kept.", err=True)


class _StateLog:
    """Writes a line for each change of a job's state, with the reason where there is one."""

    def __init__(self) -> None:
        self._known: dict[str, JobState] = {}

    def __call__(self, status: JobStatus) -> None:
        if status.job_id is None or self._known.get(status.job_id) is status.state:
            return
        if status.state in (JobState.COMPLETED, JobState.FAILED):
            if self._known.pop(status.job_id, None) is None:
                return  # one that was over before the server began
        else:
            self._known[status.job_id] = status.state
        # A message may quote a server: it is written so that it cannot begin a line of its own.
        error = status.error and f"{status.error['type']}: {status.error['message']!r}"
        reason = status.pause_reason or error
        _log.info("%s %s%s", status.job_id, status.state, f": {reason}" if reason else "")


def _greet(url: str, config: Config, web: WebConfig) -> None:
    click.echo(url)
    access = "with the API token" if web.api_token else "from this machine, without a token"
    click.echo(f"modelfetch {__version__}: {url}/openapi.json tells what it does.", err=True)
    click.echo(f"It answers calls {access}. Models go to {config.cache_dir}.", err=True)


@contextlib.contextmanager
def _signalled() -> Iterator[asyncio.Event]:
    """Give an event that SIGINT and SIGTERM set."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    try:
        for number in signals:
            loop.add_signal_handler(number, stopped.set)
    except NotImplementedError:
        # Windows: asyncio.run cancels its task at Ctrl-C, which closes everything just so.
        yield stopped
        return
    try:
        yield stopped
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
