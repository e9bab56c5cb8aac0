"""What planning a repository of many files costs: CPU time of this process, by whose code it is.

    python benchmarks/planning.py [--files 10000] [--runs 7]

The FakeHub runs in another process and leaves sizes out of its info answer, so that the listing
comes in pages of 1000 files, as from a mirror. Three things are timed, each by
`time.process_time`, after one run to warm up:

    plan       `Engine.plan`, all of it
    answers    the same requests through huggingface_hub's session, and their JSON; none of our code
    our own    the difference: reading the fields and the names, choosing the build
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from modelfetch import Engine
from modelfetch.testing import FakeHub, PositionCoded

REPO = "acme/many-GGUF"
LABELS = ["Q2_K", "Q3_K_S", "Q3_K_M", "IQ4_XS", "Q4_K_S", "Q5_K_M", "Q6_K", "Q8_0"]
SHARDS = 5


def names(count: int) -> list[str]:
    """A model at the top, and checkpoints of it in folders: sets of shards, a projector each."""
    found = ["model-Q4_K_M.gguf", "mmproj-F16.gguf", "README.md"]
    step = 0
    while len(found) < count:
        stem = f"ckpt-{step:04}"
        found.append(f"{stem}/mmproj-F16.gguf")
        for label in LABELS:
            folder = f"{stem}/{label}/model-{stem}-{label}"
            found += [f"{folder}-{n:05}-of-{SHARDS:05}.gguf" for n in range(1, SHARDS + 1)]
        step += 1
    return found[:count]


def serve(pipe: Connection, count: int) -> None:
    """Serve the repository until the pipe closes."""
    with FakeHub.in_thread() as hub:
        hub.lists_sizes = False
        hub.page_size = 1000
        hub.add(
            REPO,
            {
                path: PositionCoded(10**9 + n, sha256=f"{n + 1:064x}")
                for n, path in enumerate(names(count))
            },
            lfs=lambda path, content: True,
        )
        pipe.send(hub.endpoint)
        pipe.recv()


def answers(endpoint: str) -> int:
    """Ask what a plan asks, with huggingface_hub alone; return how many files there are."""
    from huggingface_hub import get_session

    base = f"{endpoint}/api/models/{REPO}"
    info = get_session().get(f"{base}/revision/main?blobs=true").json()
    url: str | None = f"{base}/tree/{info['sha']}?recursive=true&expand=false"
    count = 0
    while url:
        answer = get_session().get(url)
        count += len(answer.json())
        url = answer.links.get("next", {}).get("url")
    return count


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU time of `work`, in seconds."""
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(endpoint: str, cache: str, runs: int) -> list[tuple[float, float]]:
    """Return the CPU times of plan and answers, one after the other, of each run but the first."""
    with asyncio.Runner() as runner:
        engine = Engine(endpoint=endpoint, cache_dir=cache, token=False)
        runner.run(engine.__aenter__())
        try:
            return [
                (cpu(lambda: runner.run(engine.plan(REPO))), cpu(lambda: answers(endpoint)))
                for _ in range(runs + 1)
            ][1:]
        finally:
            runner.run(engine.close())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=7)
    given = parser.parse_args()
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs, given.files), daemon=True)
    server.start()
    try:
        endpoint = ours.recv()
        with tempfile.TemporaryDirectory() as cache:
            runs = measure(endpoint, cache, given.runs)
    finally:
        ours.send(None)
        server.join(10)
    machine = f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs"
    print(f"{given.files} files, CPU seconds, median of {given.runs} runs; {machine}")
    rows = {
        "plan": [plan for plan, _ in runs],
        "answers": [foreign for _, foreign in runs],
        "our own": [plan - foreign for plan, foreign in runs],
    }
    for name, spent in rows.items():
        spread = f"from {min(spent):.3f} to {max(spent):.3f}"
        print(f"{name:8} {statistics.median(spent):6.3f}   ({spread})")


if __name__ == "__main__":
    main()
