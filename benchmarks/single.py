"""What the cases of the engine itself share: their command line, tables, child processes.

Such a case is a module with `measure(*, quick, folder) -> dict`, raw results as JSON has them, and
`to_markdown(raw) -> str`; it runs as `python -m benchmarks.<name>`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from benchmarks.machine import described, python
from benchmarks.tasks import Task

MiB, GiB = 1 << 20, 1 << 30


class Measure(Protocol):
    def __call__(self, *, quick: bool, folder: Path) -> dict[str, Any]: ...


class ToMarkdown(Protocol):
    def __call__(self, raw: dict[str, Any]) -> str: ...


def run(name: str, measure: Measure, to_markdown: ToMarkdown, about: str | None) -> None:
    """Be the command line of a case."""
    options = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    options.add_argument("--quick", action="store_true", help="smaller and fewer")
    options.add_argument("--folder", type=Path, help="where files are put; default: temporary")
    options.add_argument("--store", type=Path, help="a folder for the results, as JSON and table")
    given = options.parse_args()
    environment = described()
    print(f"{environment}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=given.folder) as folder:
        raw = {"environment": environment, **measure(quick=given.quick, folder=Path(folder))}
    text = to_markdown(raw)
    print(text, flush=True)
    if given.store is not None:
        given.store.mkdir(parents=True, exist_ok=True)
        (given.store / f"{name}.json").write_text(json.dumps(raw, indent=1) + "\n")
        (given.store / f"{name}.md").write_text(f"{environment}\n\n{text}")


def environment(endpoint: str, folder: Path, certificate: Path | None = None) -> dict[str, str]:
    """Return the environment of a child process: nothing of this user's caches and settings."""
    return Task(endpoint, (), folder, certificate).environment


def child(
    code: str,
    given: object,
    environment: dict[str, str],
    on_line: Callable[[str], object] = lambda line: None,
) -> Any:
    """Run Python code that finds `given` in `t`; return the JSON of the last line it prints.

    Args:
        code: What to run.
        given: Anything that JSON has.
        environment: All of its environment.
        on_line: Called with each line that it prints; then it finds a line to read.

    Raises:
        RuntimeError: It failed.
    """
    last = "null"
    with subprocess.Popen(
        [python(), "-c", f"import json, sys\nt = json.loads(sys.argv[1])\n{code}",
         json.dumps(given)],
        env=environment, text=True, bufsize=1,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for last in process.stdout:
            on_line(last.strip())
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write("go\n")
        said = process.stderr.read()
    if process.returncode:
        raise RuntimeError(said[-2000:])
    return json.loads(last)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


def middle(values: Sequence[float], form: str = "{:.1f}") -> str:
    """Return the median of values, and the smallest and largest."""
    low, high = form.format(min(values)), form.format(max(values))
    return f"{form.format(statistics.median(values))} ({low} to {high})"
