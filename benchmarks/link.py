"""A link of a given speed: a network namespace, a pair of veth devices, and tbf on both of them.

Needs Linux, root, `ip` and `tc` (iproute2), and a kernel that has the token bucket filter.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.machine import find

_QUEUE = ("burst", "128kb", "latency", "10ms")


@dataclass(frozen=True)
class Link:
    """The far side of a link.

    Attributes:
        address: What a server there listens on.
        within: What comes before a command to run it there.
    """

    address: str
    within: list[str]


def obstacle() -> str | None:
    """Return why there can be no link here, `None` if there can."""
    if sys.platform != "linux":
        return "needs Linux"
    if os.geteuid() != 0:
        return "needs root"
    if find("ip") is None or find("tc") is None:
        return "needs ip and tc (iproute2)"
    try:
        with link(10**9):
            return None
    except subprocess.CalledProcessError as error:
        return f"the kernel refuses: {error.stderr.strip().splitlines()[-1:]}"


@contextlib.contextmanager
def link(bits_per_second: int) -> Iterator[Link]:
    """Make a link, and take it down."""
    # The names and the addresses are of this process, so that two runs are not in each other's way.
    own = os.getpid()
    name, here, there = f"bench-{own}", f"bh{own}", f"bn{own}"
    network = f"10.213.{own >> 6 & 255}"
    near, far = (f"{network}.{(own & 63) * 4 + last}" for last in (1, 2))
    rate = ["tbf", "rate", f"{bits_per_second}bit", *_QUEUE]
    within = ["ip", "netns", "exec", name]
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        _run("ip", "address", "add", f"{near}/30", "dev", here)
        _run("ip", "link", "set", here, "up")
        _run(*within, "ip", "address", "add", f"{far}/30", "dev", there)
        _run(*within, "ip", "link", "set", there, "up")
        _run(*within, "ip", "link", "set", "lo", "up")
        _run("tc", "qdisc", "add", "dev", here, "root", *rate)
        _run(*within, "tc", "qdisc", "add", "dev", there, "root", *rate)
        yield Link(far, [find("ip") or "ip", *within[1:]])
    finally:
        # The devices go with the namespace; if there is none, neither are they.
        subprocess.run([find("ip") or "ip", "netns", "delete", name], capture_output=True)
        subprocess.run([find("ip") or "ip", "link", "delete", here], capture_output=True)


def _run(program: str, *words: str) -> None:
    command = [find(program) or program, *words]
    subprocess.run(command, check=True, capture_output=True, text=True)
