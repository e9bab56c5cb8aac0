"""`modelfetch quants`, and `-q auto`, as a user and as a script see them."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.helpers import FILE, REPO, MiB, coded
from tests.listings import LISTINGS, on_hub

from modelfetch.cli import _cli
from modelfetch.testing import FakeHub

GEMMA3 = "unsloth/gemma-3-12b-it-GGUF"
LTX = "unsloth/LTX-2.3-GGUF"
SOLAR = "TheBloke/Nous-Hermes-2-SOLAR-10.7B-GGUF"
README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    with FakeHub.in_thread() as hub:
        for repo in LISTINGS:
            on_hub(hub, repo)
        hub.add(REPO, {FILE: coded(2 * MiB), "tiny-Q8_0.gguf": coded(3 * MiB, 2)})
        yield hub


@pytest.fixture(autouse=True)
def clean(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODELFETCH_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("MODELFETCH_CACHE_DIR", str(tmp_path / "cache"))


def modelfetch(*words: str) -> Result:
    return CliRunner().invoke(_cli, words, prog_name="modelfetch")


def row(output: str, label: str) -> str:
    """Return the line of the table that is about `label`."""
    return next(line for line in output.splitlines() if label in line.split()[:2])


def test_a_table_of_what_there_is(hub: FakeHub) -> None:
    hub.reset_log()
    done = modelfetch("quants", GEMMA3, "--memory", "12G")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{GEMMA3}  main at ")
    assert " ".join(lines[1].split()) == "quantization size files bits with it in 12.0 GB"
    assert len(lines) == 2 + 26 + 2
    assert row(done.stdout, "BF16").split()[-2:] == ["too", "large"]
    assert row(done.stdout, "Q6_K").split()[:4] == ["+", "Q6_K", "9.7", "GB"]
    assert row(done.stdout, "Q4_K_M").split()[0] == "*"
    assert row(done.stdout, "Q4_K_M").split()[-1] == "fits"
    assert "* no quantization asked, Q4_K_M is the default" in lines
    assert "+ auto: Q6_K is the best that fits in 12.0 GB of memory" in lines[-1]
    assert hub.requests("cdn") == []


def test_long_names_get_a_line_in_a_pipe() -> None:
    done = modelfetch("quants", LTX, "--memory", "64GiB")
    for file in LISTINGS[LTX]:
        if "distilled" in file.path:
            assert file.path in done.stdout
    assert "in 68.7 GB" in done.stdout


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("repo", [GEMMA3, LTX, "unsloth/Qwen3.5-397B-A17B-GGUF"])
def test_a_terminal_s_lines_are_not_broken(columns: int, repo: str) -> None:
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-m", "modelfetch", "quants", repo, "--memory", "12G"],
        stdout=follower, stdin=subprocess.DEVNULL, env=environment,
    ) as process:  # fmt: skip
        os.close(follower)
        shown = b""
        while chunk := _read(leader):
            shown += chunk
    os.close(leader)
    assert process.returncode == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
    assert repo in text
    assert all(len(line) <= columns for line in text.splitlines())
    for label in ("quantization", "size", "files", "auto"):
        assert label in text
    assert "\x1b[" in shown.decode()  # a person gets colours


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # Linux's way to say that the other side has closed
        return b""


def test_what_cannot_be_had_and_what_must_be_joined_is_marked() -> None:
    done = modelfetch("quants", "unsloth/Qwen3.5-397B-A17B-GGUF")
    assert "1 of 6!" in row(done.stdout, "UD-Q4_K_XL")
    assert "No default: The repository lacks 5 of the 6 files" in done.stdout
    assert "it cannot be had" in done.stdout
    done = modelfetch("quants", "mradermacher/Meta-Llama-3.1-70B-Instruct-GGUF")
    assert "2 parts" in row(done.stdout, "Q8_0")
    assert "joined when all of them are there" in done.stdout
    done = modelfetch("quants", "unsloth/Qwen3.8-27B-GGUF")
    assert "never taken for the model: MTP/mtp-Qwen3.8-27B-Q4_0.gguf (drafter" in done.stdout


def test_what_is_on_disk_is_shown() -> None:
    assert "on disk" not in modelfetch("quants", REPO).stdout
    assert modelfetch("get", REPO).exit_code == 0
    done = modelfetch("quants", REPO)
    assert "complete" in row(done.stdout, "Q4_K_M")
    assert "complete" not in row(done.stdout, "Q8_0")
    offline = modelfetch("quants", REPO, "--endpoint", "http://127.0.0.1:9")
    assert "from the cache: the Hub was not asked" in offline.stdout


def test_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELFETCH_MEMORY", "9GB")
    shown = json.loads(modelfetch("quants", SOLAR, "--json").stdout)
    assert (shown["repo"], shown["memory_bytes"], shown["default"]) == (SOLAR, 9 * 10**9, "Q4_K_M")
    assert len(shown["variants"]) == 12
    assert {variant["fit"] for variant in shown["variants"]} == {"fits", "tight", "too_large"}
    auto = next(variant for variant in shown["variants"] if variant["auto"])
    plan = json.loads(modelfetch("plan", SOLAR, "-q", "auto", "--json").stdout)
    assert plan["files"][0]["path"] == auto["paths"][0]
    assert plan["rule"] == shown["auto_rule"]


def test_get_auto_takes_the_best_that_fits() -> None:
    done = modelfetch("get", f"{REPO}:auto", "--memory", "12G")
    assert Path(done.stdout.strip()).name == "tiny-Q8_0.gguf"
    assert "auto: Q8_0 is the best that fits in 12.0 GB of memory" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["plan", SOLAR, "-q", "auto", "--memory", "2G"], 3, "needs about"),
        (["quants", SOLAR, "--memory", "much"], 2, "try 12G"),
        (["quants", SOLAR, "--memory", "0"], 2, "try 12G"),
        (["quants", "acme/none"], 3, "There is no model acme/none"),
        (["quants", SOLAR, "--revision", "v9"], 3, "no revision"),
        (["quants", "nothing"], 2, "owner/name"),
        (["quants", "acme/x", "--endpoint", "http://127.0.0.1:9"], 5, "127.0.0.1:9"),
    ],
)
def test_exit_codes(words: list[str], code: int, says: str) -> None:
    done = modelfetch(*words)
    assert done.exit_code == code, done.output
    assert says in done.stderr


def test_nothing_fits_as_json() -> None:
    done = modelfetch("plan", SOLAR, "-q", "auto", "--memory", "2G", "--json")
    assert json.loads(done.stdout)["error"]["type"] == "insufficient_memory"


def test_the_readme_shows_what_is_printed(tmp_path: Path) -> None:
    (block,) = re.findall(
        r"```console\n\$ modelfetch (quants .*?)\n(.*?)```", README.read_text(), re.S
    )
    words, shown = block[0].split(), block[1]
    repo = words[1]
    n, file = next((n, f) for n, f in enumerate(LISTINGS[repo]) if "Q4_K_M" in f.path)
    blobs = tmp_path / "cache" / f"models--{repo.replace('/', '--')}" / "blobs"
    blobs.mkdir(parents=True)
    with (blobs / (file.sha256 or f"{n:064x}")).open("wb") as stream:
        stream.truncate(file.size_bytes)  # all holes, and as large as the real one
    printed = [line.rstrip() for line in modelfetch(*words).stdout.splitlines()]
    assert printed == shown.splitlines()
