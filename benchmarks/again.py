"""What it costs to ask for a model that is there already: milliseconds and requests.

    python -m benchmarks.again [--quick]

*pinned* names the commit, *unpinned* the branch, so that the Hub has to be asked which commit that
is now. The program runs: one engine is open, and the model was asked for once before. *new engine*
is `modelfetch.fetch`, which opens and closes an engine of its own for each call.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.single import MiB, child, environment, middle, run, table
from modelfetch.testing import FakeHub, build_gguf

REPO, FILE = "bench/again-GGUF", "again-Q4_K_M.gguf"
_CODE = """
import asyncio, time, urllib.request
import modelfetch
from huggingface_hub import hf_hub_download
repo, name, commit, times, cache = t["repo"], t["name"], t["commit"], t["times"], t["cache"]
def timed(call):
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
async def engine(revision):
    async with modelfetch.Engine(cache_dir=cache, token=False) as engine:
        await (await engine.download(repo, revision=revision)).result()
        taken = []
        print("begin", flush=True)
        sys.stdin.readline()
        for _ in range(times):
            began = time.perf_counter()
            job = await engine.download(repo, revision=revision)
            taken.append(time.perf_counter() - began)
            assert job.state == "already_downloaded", job.state
        return taken
def plain(call):
    call()
    print("begin", flush=True)
    sys.stdin.readline()
    return [timed(call) for _ in range(times)]
revision = commit if t["kind"] == "pinned" else None
if t["program"] == "modelfetch":
    taken = asyncio.run(engine(revision))
elif t["program"] == "modelfetch, new engine":
    taken = plain(lambda: modelfetch.fetch(repo, revision=revision, cache_dir=cache, token=False))
else:
    taken = plain(lambda: hf_hub_download(
        repo, name, revision=revision, cache_dir=cache, token=False))
print(json.dumps(taken))
"""
PROGRAMS = ("modelfetch", "modelfetch, new engine", "huggingface_hub")


def measure(*, quick: bool, folder: Path) -> dict[str, Any]:
    """Return `{"rows": {"<program>, <pinned or not>": {"seconds", "requests"}}}`."""
    times = 10 if quick else 100
    rows = {}
    with FakeHub.in_thread() as hub:
        commit = hub.add(REPO, {FILE: build_gguf(size_bytes=MiB)})
        for program in PROGRAMS:
            for kind in ("pinned", "unpinned"):
                place = folder / f"{program}-{kind}"
                given = {
                    "repo": REPO, "name": FILE, "commit": commit, "times": times,
                    "program": program, "kind": kind, "cache": str(place / "cache"),
                }  # fmt: skip
                taken = child(
                    _CODE, given, environment(hub.endpoint, place),
                    on_line=lambda line: hub.reset_log() if line == "begin" else None,
                )  # fmt: skip
                rows[f"{program}, {kind}"] = {
                    "seconds": taken, "requests": len(hub.log) / times,
                }  # fmt: skip
    return {"rows": rows}


def to_markdown(raw: dict[str, Any]) -> str:
    """Return the table."""
    return "### (j) A model that is there already\n\n" + table(
        ["", "milliseconds", "requests"],
        [
            (name, middle([1000 * s for s in row["seconds"]]), f"{row['requests']:g}")
            for name, row in raw["rows"].items()
        ],
    )


def main() -> None:
    run("again", measure, to_markdown, __doc__)


if __name__ == "__main__":
    main()
