"""What importing modelfetch and starting its command line cost.

    python -m benchmarks.startup [--quick]

Wall time of a whole process from its start to its end, rounds interleaved, beside one that does
nothing; then what `python -X importtime` says of `import modelfetch`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import python
from benchmarks.single import middle, run, table

_LINE = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \| +(\S+)")
LISTED = 8


def _commands() -> dict[str, list[str]]:
    ours = [python(), "-m", "modelfetch"]
    program = shutil.which("hf") or str(Path(python()).with_name("hf"))
    commands = {
        "python -c pass": [python(), "-c", "pass"],
        "import modelfetch": [python(), "-c", "import modelfetch"],
        "import modelfetch.engine": [python(), "-c", "import modelfetch.engine"],
        "import huggingface_hub": [python(), "-c", "import huggingface_hub"],
        "from huggingface_hub import hf_hub_download": [
            python(), "-c", "from huggingface_hub import hf_hub_download"
        ],
        "modelfetch --version": [*ours, "--version"],
        "modelfetch --help": [*ours, "--help"],
        "modelfetch get --help": [*ours, "get", "--help"],
        "hf version": [program, "version"],
        "hf --help": [program, "--help"],
    }  # fmt: skip
    return {name: words for name, words in commands.items() if shutil.which(words[0])}


def measure(*, quick: bool, folder: Path) -> dict[str, Any]:
    """Return `{"rows": {"<what>": [seconds, ...]}, "imports": {"<module>": microseconds}}`."""
    environment = {**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
    rows: dict[str, list[float]] = {}
    for number in range(1 + (3 if quick else 15)):
        for name, words in _commands().items():
            began = time.perf_counter()
            subprocess.run(words, env=environment, cwd=folder, check=True, capture_output=True)
            if number:  # the first time, byte code is written
                rows.setdefault(name, []).append(time.perf_counter() - began)
    return {"rows": rows, "imports": _imports("import modelfetch")}


def _imports(code: str) -> dict[str, int]:
    said = subprocess.run(
        [python(), "-X", "importtime", "-c", code], capture_output=True, text=True, check=True
    ).stderr
    found = {name: int(whole) for _, whole, name in _LINE.findall(said)}
    ours = {name: spent for name, spent in found.items() if not name.startswith("_")}
    largest = sorted(ours, key=lambda name: -ours[name])[: LISTED + 1]
    return {name: ours[name] for name in largest if name != "site"}


def to_markdown(raw: dict[str, Any]) -> str:
    """Return both tables."""
    nothing = sorted(raw["rows"]["python -c pass"])[len(raw["rows"]["python -c pass"]) // 2]
    rows = []
    for name, taken in raw["rows"].items():
        milliseconds = [1000 * seconds for seconds in taken]
        more = sorted(milliseconds)[len(taken) // 2] - 1000 * nothing
        rows.append((name, middle(milliseconds), f"{more:.1f}"))
    whole = table(["", "ms", "more than python -c pass"], rows)
    imports = table(
        ["`import modelfetch`, with all it imports", "ms"],
        [(name, f"{spent / 1000:.1f}") for name, spent in raw["imports"].items()],
    )
    return f"### (o) Import and start\n\n{whole}\n{imports}"


def main() -> None:
    run("startup", measure, to_markdown, __doc__)


if __name__ == "__main__":
    main()
