"""The host's end of the process in which an engine's transfers run.

With it the host's interpreter has nothing to do with the bytes: not its loop, nor its lock, nor its
garbage collection. It costs the start of a Python, and its memory. What it needs of the host is its
interpreter and its path, and nothing of its main module. When that process dies, which
nobody asked it to, the next one goes on with the bytes that are there.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from modelfetch.config import Config
from modelfetch.core.pace import TokenBucket
from modelfetch.errors import ModelFetchError
from modelfetch.frames import (
    Begin,
    Cancel,
    Ended,
    Failed,
    Message,
    Noted,
    Progress,
    Rate,
    Ready,
    Run,
    receive,
    send,
)
from modelfetch.offload import Offload, carried_out, settled
from modelfetch.shared import FileProgress
from modelfetch.types import LocalModel, Plan

__all__ = ["Beside", "NoProcess", "can_have_processes"]

# A process that dies so often without bringing a byte will not bring one.
MAX_DEATHS = 3
# How often the bound on a job's speed is looked at.
LOOK_SECONDS = 0.25
# Signals are the host's business: a Ctrl-C in a terminal reaches both, and the host says what
# becomes of it. So it is from the first moment, before all that has to be imported. The path is the
# host's, which may have changed it.
_START = """\
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.path[:] = sys.argv[2:]
from modelfetch.aside import main
main(int(sys.argv[1]))
"""


class NoProcess(ModelFetchError):
    """None can be started here."""


class _Died(Exception):
    """The process is gone."""


def can_have_processes() -> bool:
    """Return whether this is a Python that can start itself: not one frozen or embedded."""
    is_python = Path(sys.executable or "").name.lower().startswith(("python", "pypy"))
    return sys.platform != "win32" and is_python and not getattr(sys, "frozen", False)


class Beside:
    """The process, begun at first use; of one engine.

    Args:
        config: What the engine is set to.
        offload: Threads for starting and reaping it.
    """

    def __init__(self, config: Config, offload: Offload) -> None:
        self._config, self._offload = config, offload
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._runs: dict[int, _Awaited] = {}
        self._number = 0

    async def run(
        self,
        plan: Plan,
        progress: Mapping[str, FileProgress],
        token: str | None,
        bucket: TokenBucket,
    ) -> LocalModel:
        """As `Carrier.run`.

        Raises:
            NoProcess: It cannot be started; nothing has been done.
            ModelFetchError: A file cannot be had, or the process dies again and again; what came is
                kept.
        """
        deaths, received = 0, -1
        while True:
            try:
                return await self._run_once(plan, progress, token, bucket)
            except _Died:
                now = sum(file.received for file in progress.values())
                deaths, received = (deaths + 1 if now <= received else 1), now
                if deaths >= MAX_DEATHS:
                    raise ModelFetchError(
                        "The process of the transfers was ended from outside, several times.",
                        hint="Look for what does that: the system may be out of memory.",
                    ) from None

    def set_rate(self, bytes_per_second: float | None) -> None:
        """Change the bound on the speed."""
        self._config = replace(self._config, max_bytes_per_second=bytes_per_second)
        if self._writer is not None:
            send(self._writer, Rate(bytes_per_second))

    async def close(self) -> None:
        """End the process; nothing may be running. Harmless when closed."""
        writer, self._writer = self._writer, None
        try:
            if writer is not None and not writer.is_closing():
                # Closing would not do: a child that the host has forked has the socket too.
                writer.write_eof()
            if self._listening is not None:
                await asyncio.wait({self._listening})
        finally:
            if writer is not None:
                writer.close()

    async def _run_once(
        self,
        plan: Plan,
        progress: Mapping[str, FileProgress],
        token: str | None,
        bucket: TokenBucket,
    ) -> LocalModel:
        writer = await self._started()
        self._number += 1
        number, awaited = self._number, _Awaited(progress)
        self._runs[number] = awaited
        rate = bucket.rate
        send(writer, Run(number, plan, dict(progress), token, rate))
        try:
            while not (await asyncio.wait({awaited.answer}, timeout=LOOK_SECONDS))[0]:
                if bucket.rate != rate:
                    rate = bucket.rate
                    send(writer, Rate(rate, number))
            return awaited.answer.result()
        except asyncio.CancelledError:
            send(writer, Cancel(number))
            await settled(awaited.answer)
            raise
        finally:
            del self._runs[number]

    async def _started(self) -> asyncio.StreamWriter:
        async with self._starting:
            if self._writer is None:
                # Cancelling who waits for it does not leave one that is nobody's.
                return await carried_out(asyncio.create_task(self._start()))
            return self._writer

    async def _start(self) -> asyncio.StreamWriter:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await self._offload(_spawned, theirs.fileno())
        except BaseException:
            ours.close()
            raise
        reader, writer = await asyncio.open_connection(sock=ours)
        send(writer, Begin(self._config))
        if not isinstance(await receive(reader), Ready):
            writer.close()
            code = await self._offload(process.wait)
            raise _no_process(f"it ended at once, with exit code {code}")
        self._process, self._writer = process, writer
        self._listening = asyncio.create_task(self._listen(reader), name="modelfetch listener")
        return writer

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while (message := await receive(reader)) is not None:
            self._take(message)
        if self._writer is not None:
            self._writer.close()
        self._writer = None
        for awaited in self._runs.values():
            awaited.fail(_Died())
        if self._process is not None:
            await self._offload(self._process.wait)

    def _take(self, message: Message) -> None:
        if isinstance(message, Noted):
            logging.getLogger(message.record.name).handle(message.record)
        elif isinstance(message, Progress | Ended | Failed) and message.number in self._runs:
            self._runs[message.number].take(message)


class _Awaited:
    """A plan that is being carried out beside."""

    def __init__(self, progress: Mapping[str, FileProgress]) -> None:
        self._progress = progress
        self.answer: asyncio.Future[LocalModel] = asyncio.get_running_loop().create_future()

    def take(self, message: Progress | Ended | Failed) -> None:
        if isinstance(message, Progress):
            for path, file in message.files.items():
                _copy(file, self._progress[path])
        elif isinstance(message, Failed):
            self.fail(message.error)
        elif message.model is None:
            self.fail(_Died())
        elif not self.answer.done():
            self.answer.set_result(message.model)

    def fail(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


def _copy(source: FileProgress, target: FileProgress) -> None:
    header = source.header or target.header
    for name in FileProgress.__slots__:
        setattr(target, name, getattr(source, name))
    target.header = header


def _spawned(descriptor: int) -> subprocess.Popen[bytes]:
    package = str(Path(__file__).parent.parent)
    try:
        # Not in a session of its own: Linux shares the processors among sessions first (autogroup,
        # sched(7)), and being nice would count for nothing between that one and the host's.
        return subprocess.Popen(
            [sys.executable, "-c", _START, str(descriptor), *sys.path, package],
            pass_fds=(descriptor,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    except (OSError, ValueError) as error:
        raise _no_process(str(error)) from None


def _no_process(why: str) -> NoProcess:
    return NoProcess(
        f"No process for the transfers can be started: {why}.",
        hint="isolation='thread' does without.",
    )
