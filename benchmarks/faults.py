"""The conformance table against modelfetch and its peers: who survives what.

    python -m benchmarks.faults [--peers curl,aria2c] [--cases redirect] [--write docs/faults.md]

Every program fetches the same file of 4 MiB from the FakeHub over http, once for each row of
`tests/faults/misbehaviours.py`, in a process of its own that is ended after `BOUND` seconds. It has
the options by which it survives most: retries, short timeouts, the checksum where it takes one. It
is given the Hub's URL, so that asking again gives a fresh signed one.

A fault of the table is about a request for a range. The programs that fetch in one stream are cut
off after the first MiB, so that they ask for a range too; one that never does is not measured by
rows that need it.
"""

from __future__ import annotations

import argparse
import datetime
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from tests.faults.misbehaviours import CASES, CONNECTIONS, SIZE, Case, Verdict

from benchmarks.machine import described, find, python_version_of, version_of
from modelfetch.testing import Altered, FakeHub, PositionCoded, Reply, ShortBody

REPO, FILE = "acme/tiny-GGUF", "tiny-Q4_K_M.gguf"
BOUND = 8.0
AT_ONCE = 3
CONTENT = PositionCoded(SIZE, 1)
CONTROL = Case("nothing wrong", Altered(lambda reply: reply), Verdict.TAKEN)
MARK = "<!-- what follows is written by benchmarks/faults.py -->\n"


class Outcome(StrEnum):
    """What one program made of one row."""

    RIGHT = "right"
    REFUSED = "error"
    LEFT = "error, junk"
    HANGS = "hangs"
    WRONG = "WRONG"
    UNMET = "not met"


MEANING = {
    Outcome.RIGHT: "the file is right, and the program says so",
    Outcome.REFUSED: "an error, and nothing under the final name",
    Outcome.LEFT: "an error, and under the final name something that is not the file",
    Outcome.HANGS: f"no end within {BOUND:.0f} s",
    Outcome.WRONG: "success is reported, and the file is wrong or absent",
    Outcome.UNMET: "the program never makes the kind of request that the row is about",
}


@dataclass(frozen=True)
class Peer:
    """A program.

    Attributes:
        name: For the table.
        command: Its command, given the URL, the Hub's endpoint and a folder.
        version: Its version, `None` when it is not here.
        in_one_stream: Whether it must be cut off once to ask for a range.
        requotes: Whether it changes the escapes of a signed URL, which ends in 403 with a real Hub;
            it is given URLs without any.
        finds: The file it made, as a pattern in the folder.
    """

    name: str
    command: Callable[[str, str, Path], list[str]]
    version: str | None
    in_one_stream: bool = False
    requotes: bool = False
    finds: str = FILE


@dataclass
class Run:
    """One program on one row."""

    outcome: Outcome
    sent: int


def _code(text: str) -> Callable[[str, str, Path], list[str]]:
    def command(url: str, endpoint: str, folder: Path) -> list[str]:
        known = {"url": url, "endpoint": endpoint, "folder": str(folder), "repo": REPO,
                 "name": FILE, "connections": CONNECTIONS}  # fmt: skip
        return [sys.executable, "-c", f"t = {known!r}\n{text}"]

    return command


_MODELFETCH = """
import modelfetch
from modelfetch.core.retry import RetryPolicy
modelfetch.fetch(t["repo"], endpoint=t["endpoint"], cache_dir=t["folder"], token=False,
                 connections=t["connections"], read_timeout=1.0,
                 first_byte_timeout=1.0, hub_timeout=1.0, check_gguf=False, adopt=False,
                 retry=RetryPolicy(attempts=5, base_seconds=0.05, max_seconds=0.5))
"""
_HUB = """
from huggingface_hub import hf_hub_download
hf_hub_download(t["repo"], t["name"], token=False, cache_dir=t["folder"])
"""
_HF_TRANSFER = """
import hf_transfer
hf_transfer.download(t["url"], t["folder"] + "/" + t["name"], t["connections"], 1 << 20, 3, 5)
"""
_PYPDL = """
from pypdl import Pypdl
done = Pypdl().start(t["url"], file_path=t["folder"] + "/" + t["name"], segments=t["connections"],
                     multisegment=True, overwrite=True, retries=5, display=False, block=True)
raise SystemExit(0 if done else 1)
"""
_PARFIVE = """
import aiohttp
from parfive import Downloader, SessionConfig
config = SessionConfig(timeouts=aiohttp.ClientTimeout(total=None, sock_read=1.0))
loader = Downloader(max_splits=t["connections"], progress=False, config=config)
loader.enqueue_file(t["url"], path=t["folder"], filename=t["name"])
results = loader.download()
for _ in range(5):
    if results.errors:
        results = loader.retry(results)
raise SystemExit(1 if results.errors else 0)
"""


def _aria2(url: str, endpoint: str, folder: Path) -> list[str]:
    return [
        "aria2c", "-q", f"-x{CONNECTIONS}", f"-s{CONNECTIONS}", "-k1M", "-d", str(folder), "-o",
        FILE, f"--checksum=sha-256={CONTENT.sha256}", "--timeout=1", "--max-tries=5",
        "--retry-wait=1", url,
    ]  # fmt: skip


def _curl(url: str, endpoint: str, folder: Path) -> list[str]:
    return [
        "curl", "-fsSL", "--retry", "5", "--retry-all-errors", "--retry-delay", "1",
        "--speed-limit", "1000", "--speed-time", "1", "-o", str(folder / FILE), url,
    ]  # fmt: skip


def _curl_again(url: str, endpoint: str, folder: Path) -> list[str]:
    once = f"curl -fsSL -C - --speed-limit 1000 --speed-time 1 -o '{folder / FILE}' '{url}'"
    return ["sh", "-c", f"for i in 1 2 3 4 5 6; do {once} && exit 0; sleep 0.1; done; exit 1"]


def _program(name: str) -> str | None:
    return version_of([name, "--version"]) if find(name) else None


def peers() -> list[Peer]:
    """Return all programs that the table is run against, whether they are here or not."""
    package = python_version_of
    return [
        Peer("modelfetch", _code(_MODELFETCH), package("modelfetch"), finds="**/snapshots/*/*"),
        Peer("huggingface_hub", _code(_HUB), package("huggingface_hub"), in_one_stream=True,
             finds="**/snapshots/*/*"),
        Peer("hf_transfer", _code(_HF_TRANSFER), package("hf_transfer")),
        Peer("aria2c --checksum", _aria2, _program("aria2c")),
        Peer("curl -C - in a loop", _curl_again, _program("curl"), in_one_stream=True),
        Peer("curl --retry", _curl, _program("curl")),
        Peer("pypdl", _code(_PYPDL), package("pypdl"), requotes=True),
        Peer("parfive", _code(_PARFIVE), package("parfive"), requotes=True),
    ]  # fmt: skip


def run(peer: Peer, case: Case) -> Run:
    """Let one program meet one misbehaviour."""
    met: list[int] = []
    with FakeHub.in_thread() as hub, tempfile.TemporaryDirectory(prefix="faults-") as name:
        commit = hub.add(REPO, {FILE: CONTENT})
        hub.has_escapes = not peer.requotes
        if peer.in_one_stream:
            hub.script(ShortBody(1 << 20), when=lambda r: r.method == "GET" and r.asked is None)
        fault = case.fault(hub) if callable(case.fault) else case.fault

        def counted(reply: Reply) -> Reply:
            changed = fault.apply(reply)
            met.extend([1] if changed != reply else [])
            return changed

        # What was cut off had its first right answer.
        skip = max(0, case.skip - peer.in_one_stream)
        replace(case, skip=skip).script(hub, Altered(counted))
        url = f"{hub.endpoint}/{REPO}/resolve/{commit}/{FILE}"
        code = _ended(peer.command(url, hub.endpoint, Path(name)), hub.endpoint, Path(name))
        outcome = _outcome(code, sorted(Path(name).glob(peer.finds)))
        is_met = met or case is CONTROL or any(record.status == 403 for record in hub.log)
        return Run(outcome if is_met else Outcome.UNMET, hub.sent_bytes(FILE))


def _ended(command: list[str], endpoint: str, folder: Path) -> int | None:
    """Return the exit code of `command`; `None` when it had to be ended."""
    environment = {
        **os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "home"),
        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "1",
        "HF_HUB_ETAG_TIMEOUT": "1", "MODELFETCH_STATE_DIR": str(folder / "state"),
    }  # fmt: skip
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True, **quiet
    ) as process:
        try:
            return process.wait(BOUND)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None


def _outcome(code: int | None, found: Sequence[Path]) -> Outcome:
    is_right = bool(found) and found[0].read_bytes() == CONTENT.read(0, SIZE)
    if code is None:
        return Outcome.HANGS
    if code == 0:
        return Outcome.RIGHT if is_right else Outcome.WRONG
    return Outcome.LEFT if found and not is_right else Outcome.REFUSED


def table(cases: Sequence[Case], present: Sequence[Peer]) -> dict[tuple[str, str], Run]:
    """Run everything, some at once, and tell on stderr how far it is."""
    wanted = [(peer, case) for case in cases for peer in present]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = {}
        for (peer, case), done in zip(wanted, pool.map(lambda w: run(*w), wanted), strict=True):
            runs[peer.name, case.id] = done
            print(f"{len(runs)}/{len(wanted)} {peer.name}: {case.id}: {done.outcome}",
                  file=sys.stderr)  # fmt: skip
    return runs


def _row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"


def report(cases: Sequence[Case], present: Sequence[Peer], runs: dict[tuple[str, str], Run]) -> str:
    """Return both tables in Markdown: the sums, and every row."""
    when = datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%d")
    lines = [f"Run on {when}: {described()}; {len(cases)} rows, `python -m benchmarks.faults`.", ""]
    lines += [_row(["", *Outcome, "fetched per byte"]), _row(["---"] * (len(Outcome) + 2))]
    for peer in present:
        mine = [runs[peer.name, case.id] for case in cases]
        count = Counter(done.outcome for done in mine)
        right = [done.sent / SIZE for done in mine if done.outcome is Outcome.RIGHT]
        mean = f"{sum(right) / len(right):.2f}" if right else ""
        name = f"{peer.name} ({peer.version})"
        lines.append(_row([name, *(count[outcome] or "" for outcome in Outcome), mean]))
    lines += ["", *(f"- **{outcome}**: {meaning}." for outcome, meaning in MEANING.items())]
    lines += ["- **fetched per byte**: body bytes that left the CDN for each byte of the file, on "
              "average over the rows that end right.", ""]  # fmt: skip
    heads = ["the server", "a good client", *(peer.name for peer in present)]
    lines += [_row(heads), _row(["---"] * len(heads))]
    for case in cases:
        cells = [runs[peer.name, case.id].outcome for peer in present]
        lines.append(_row([case.id, case.verdict, *cells]))
    return "\n".join(lines) + "\n"


def main() -> None:
    about = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    about.add_argument("--peers", default="", help="only those with one of these words")
    about.add_argument("--cases", default="", help="only those with this text")
    about.add_argument("--write", type=Path, help="put the tables at the end of this document")
    given = about.parse_args()
    words = given.peers.split(",")
    present = [p for p in peers() if p.version and any(word in p.name for word in words)]
    cases = [c for c in CASES if given.cases in c.id and c.scheme != "https"]
    cases.insert(0, CONTROL)
    runs = table(cases, present)
    for peer in present:
        if runs[peer.name, CONTROL.id].outcome is not Outcome.RIGHT:
            sys.exit(f"{peer.name} fails with nothing wrong: what it makes of faults means nothing")
    text = report(cases, present, runs)
    if given.write is None:
        print(text)
    else:
        kept = given.write.read_text().partition(MARK)[0] if given.write.exists() else ""
        given.write.write_text(kept + MARK + "\n" + text)


if __name__ == "__main__":
    main()
