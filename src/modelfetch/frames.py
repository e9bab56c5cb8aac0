"""Messages between an engine and the process in which its transfers run: pickles with a length.

Both ends are the same program, and the socket is a pair that nobody else has: what is unpickled is
what the other end pickled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import struct
from dataclasses import dataclass

from modelfetch.config import Config
from modelfetch.shared import FileProgress
from modelfetch.types import LocalModel, Plan

__all__ = [
    "Begin", "Cancel", "Ended", "Failed", "Message", "Noted", "Progress", "Rate", "Ready", "Run",
    "receive", "send",
]  # fmt: skip

_LENGTH = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Begin:
    """The first message: what the engine is set to."""

    config: Config


@dataclass(frozen=True, slots=True)
class Ready:
    """The answer to it: the process has all that it needs."""


@dataclass(frozen=True, slots=True)
class Run:
    """Carry a plan out, and call that by a number."""

    number: int
    plan: Plan
    progress: dict[str, FileProgress]
    token: str | None
    bytes_per_second: float | None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop that; the answer comes when it has stopped."""

    number: int


@dataclass(frozen=True, slots=True)
class Rate:
    """The bound on the speed from now on: of all together, or of one plan."""

    bytes_per_second: float | None
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a file is; heads of GGUF files come once."""

    number: int
    files: dict[str, FileProgress]


@dataclass(frozen=True, slots=True)
class Ended:
    """A plan is carried out, or was stopped: then there is no model."""

    number: int
    model: LocalModel | None


@dataclass(frozen=True, slots=True)
class Failed:
    """A plan cannot be carried out."""

    number: int
    error: Exception


@dataclass(frozen=True, slots=True)
class Noted:
    """Something for the log."""

    record: logging.LogRecord


Message = Begin | Ready | Run | Cancel | Rate | Progress | Ended | Failed | Noted


def send(writer: asyncio.StreamWriter, message: Message) -> None:
    """Send a message; one to somebody who is gone is lost."""
    data = pickle.dumps(message)
    with contextlib.suppress(ConnectionError, RuntimeError):
        writer.write(_LENGTH.pack(len(data)) + data)


async def receive(reader: asyncio.StreamReader) -> Message | None:
    """Return the next message; `None` when the other end is gone."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        message: Message = pickle.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return message
