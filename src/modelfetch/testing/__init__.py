"""For the tests of programs that embed modelfetch: a Hub with faults, and files to serve.

Everything runs over real sockets on 127.0.0.1. See `FakeHub`.
"""

from __future__ import annotations

from modelfetch.testing.clock import ManualClock
from modelfetch.testing.content import BytesContent, Content, FileContent, PositionCoded
from modelfetch.testing.faults import (
    ChangedETag,
    Delay,
    Encoded,
    Ending,
    Fault,
    HtmlPage,
    IgnoreRange,
    RateLimited,
    Reply,
    Reset,
    ShiftedRange,
    ShortBody,
    Slow,
    Stall,
    Status,
    WrongBytes,
    WrongTotal,
)
from modelfetch.testing.gguf import build_gguf
from modelfetch.testing.hub import FakeHub
from modelfetch.testing.log import LoggedRequest
from modelfetch.testing.wire import Altered, Drip, Framing, Hints, LongBody, Raw, Redirect

__all__ = [
    "FakeHub",
    "LoggedRequest",
    "ManualClock",
    "build_gguf",
    "Content",
    "BytesContent",
    "FileContent",
    "PositionCoded",
    "Fault",
    "Reply",
    "Status",
    "HtmlPage",
    "RateLimited",
    "Reset",
    "Stall",
    "ShortBody",
    "Slow",
    "ShiftedRange",
    "IgnoreRange",
    "WrongBytes",
    "WrongTotal",
    "Encoded",
    "ChangedETag",
    "Delay",
    "Altered",
    "Drip",
    "Ending",
    "Framing",
    "Hints",
    "LongBody",
    "Raw",
    "Redirect",
]
