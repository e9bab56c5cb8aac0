"""The command line as a user and as a script see it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.helpers import FILE, LABEL, REPO, MiB, assert_same, coded

from modelfetch import errors
from modelfetch.cli import _cli, exit_code
from modelfetch.testing import FakeHub, HtmlPage, IgnoreRange, Status, WrongBytes


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {FILE: coded(3 * MiB), "tiny-Q8_0.gguf": coded(MiB), "mmproj-F16.gguf": b"x"})
        yield hub


@pytest.fixture(autouse=True)
def clean(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("MODELFETCH_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("MODELFETCH_CACHE_DIR", str(tmp_path / "cache"))
    yield
    hub.unscript()
    hub.rate = None


def modelfetch(*words: str) -> Result:
    return CliRunner().invoke(_cli, words, prog_name="modelfetch")


def in_a_process(*words: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modelfetch", *words],
        capture_output=True, text=True, check=False, env=os.environ, **more,
    )  # type: ignore[call-overload]  # fmt: skip


def test_get_prints_the_path_alone_on_stdout() -> None:
    done = in_a_process("get", REPO, "-q", LABEL, "--no-mmproj")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert_same(Path(done.stdout.strip()), coded(3 * MiB))
    assert "100.0%" in done.stderr
    assert REPO in done.stderr


def test_get_json_prints_wire_objects_the_last_with_path_and_files(hub: FakeHub) -> None:
    hub.rate = 4 * MiB
    done = modelfetch("get", REPO, "-q", LABEL, "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["status"] for line in lines[:-1]} == {"downloading"}
    assert all("files" not in line for line in lines[:-1])
    last = lines[-1]
    assert last["status"] == "completed"
    assert [Path(file["path"]).name for file in last["files"]] == [FILE, "mmproj-F16.gguf"]
    assert last["path"] == last["files"][0]["path"]
    again = json.loads(modelfetch("get", REPO, "-q", LABEL, "--json").stdout)
    assert again["status"] == "already_downloaded"
    assert again["path"] == last["path"]


def test_plan_json_has_the_documented_fields() -> None:
    plan = json.loads(modelfetch("plan", REPO, "-q", "q8_0", "--json").stdout)
    assert list(plan) == ["repo", "commit", "quantization", "rule", "total_size_bytes", "files"]
    assert list(plan["files"][0]) == ["path", "size_bytes", "sha256", "role"]
    assert plan["files"][0]["sha256"] == coded(MiB).sha256


def test_plan_is_readable_and_downloads_nothing(hub: FakeHub) -> None:
    hub.reset_log()
    hub.repos[REPO].gguf = {"total": 4022468096, "architecture": "qwen3", "context_length": 40960}
    done = modelfetch("plan", REPO, "-q", LABEL)
    about = "qwen3, 4.02 B parameters, 40,960 tokens of context"
    for text in (REPO, LABEL, FILE, "mmproj-F16.gguf", "3.1 MB", about):
        assert text in done.stdout
    assert hub.requests("cdn") == []


def test_an_id_of_a_catalogue(hub: FakeHub, tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    source = "{type: huggingface, user: acme, repo: tiny-GGUF}"
    path.write_text(f"model: me/mine\nbase: [{{key: x, sources: [{source}]}}]\n")
    done = modelfetch("plan", "me/mine", "-q", LABEL, "--catalog", str(path))
    assert done.exit_code == 0, done.output
    assert f"me/mine is {REPO} by the user's catalogue" in " ".join(done.stdout.split())
    done = modelfetch("quants", "me/mine", "--catalog", str(path))
    assert f"me/mine is {REPO} by the user's catalogue" in done.stdout
    done = modelfetch("plan", "me/mine", "--catalog", str(tmp_path / "nothing"))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "MODELFETCH_CATALOG" in done.stderr


def test_a_conversion_is_taken_only_on_demand(hub: FakeHub) -> None:
    hub.add("acme/raw", {"model.safetensors": b"x"})
    relation = "base_model:quantized:acme/raw"
    hub.add("other/raw-GGUF", {"raw-Q8_0.gguf": b"x"}, tags=[relation])
    done = modelfetch("get", "acme/raw", "-q", "q8_0")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "modelfetch get other/raw-GGUF:q8_0" in done.stderr
    done = modelfetch("plan", "acme/raw", "-q", "q8_0", "--any-publisher")
    assert done.exit_code == 0, done.output
    assert "conversion by other" in " ".join(done.stdout.split())
    assert Path(modelfetch("get", "acme/raw", "--any-publisher").stdout.strip()).is_file()


def test_a_terminal_gets_bars() -> None:
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "modelfetch", "get", REPO, "-q", LABEL],
        stdout=subprocess.DEVNULL, stderr=follower, env={**os.environ, "COLUMNS": "150"},
    ) as process:  # fmt: skip
        os.close(follower)
        shown = b""
        while chunk := _read(leader):
            shown += chunk
    os.close(leader)
    assert process.returncode == 0, shown.decode()
    text = shown.decode()
    for part in (FILE, "mmproj-F16.gguf", "total", "━", "completed", "verified"):
        assert part in text


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # Linux's way to say that the other side has closed
        return b""


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["get", "nothing"], 2, "owner/name"),
        (["get", REPO, "--endpoint", "ftp://x"], 2, "http(s)"),
        (["get", REPO, "--connections", "0"], 2, "connections"),
        (["get", REPO, "--limit-rate", "fast"], 2, "20M"),
        (["get", "acme/none"], 3, "There is no model acme/none"),
        (["get", REPO, "--revision", "v9"], 3, "no revision"),
        (["get", REPO, "-q", "Q5_K_M"], 3, "Q8_0 (1 MB)"),
        (["get", REPO, "--token", "hf_wrong"], 4, "token"),
        (["get", REPO, "--endpoint", "http://127.0.0.1:9"], 5, "127.0.0.1:9"),
        (["get", REPO, "-q", "Q8_0", "--cache-dir", "/proc/x"], 6, "/proc/x"),
        (["plan", "acme/none"], 3, "There is no model"),
    ],
)
def test_exit_codes(words: list[str], code: int, says: str) -> None:
    done = modelfetch(*words)
    assert done.exit_code == code, done.output
    assert says in done.stderr
    assert "Traceback" not in done.output


def test_wrong_bytes_exit_with_7_and_the_network_with_5(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.script(WrongBytes(), times=None)
    done = modelfetch("get", REPO, "-q", LABEL, "--json")
    assert done.exit_code == 7
    assert json.loads(done.stdout.splitlines()[-1])["error"]["type"] == "integrity_error"
    hub.unscript()
    hub.script(HtmlPage(), on="api", times=None)
    assert modelfetch("get", REPO).exit_code == 5
    hub.unscript()
    hub.script(Status(412), times=None)
    assert modelfetch("get", REPO, "-q", LABEL).exit_code == 5


def test_every_error_has_an_exit_code() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__ if name != "Variant"]
    made = [kind.__new__(kind) for kind in kinds]
    codes = {type(error).__name__: exit_code(error) for error in made}
    assert {name for name, code in codes.items() if code == 1} == {
        "ModelFetchError",
        "InvalidState",
        "JobCancelled",
    }


def test_a_server_without_ranges_is_told(hub: FakeHub) -> None:
    hub.script(IgnoreRange(), times=None)
    hub.rate = 8 * MiB
    done = in_a_process("get", REPO, "-q", LABEL, "--no-mmproj")
    assert done.returncode == 0
    assert "ignores ranges" in done.stderr


def test_the_demo_shows_the_whole_job(tmp_path: Path) -> None:
    done = in_a_process("demo", "--size", "16", "--keep", str(tmp_path / "demo"))
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert path.read_bytes()[:4] == b"GGUF"
    for text in ("killed when", "bytes left it twice", "0 bytes left the CDN", "SHA-256"):
        assert text in done.stderr


def test_without_the_extra_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['click'] = None\n"
        "from modelfetch.__main__ import main; main()"
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'modelfetch[cli]'" in done.stderr


def test_the_command_to_go_on_with_does_not_tell_the_token() -> None:
    from modelfetch.cli.running import without_secrets

    secrets = ["--proxy", "http://a:b@c", "--header", "X-Key: a", "--header=X-Key: b"]
    for words in (["--token", "hf_s"], ["--token=hf_s"], secrets):
        assert without_secrets(["get", "a/b", *words, "-q", "Q8_0"]) == [
            "get",
            "a/b",
            "-q",
            "Q8_0",
        ]


def test_headers_and_a_proxy(hub: FakeHub) -> None:
    hub.reset_log()
    words = ["plan", REPO, "--proxy", "0", "--header", "X-Team: a:b", "--header", "X-Key:c"]
    assert modelfetch(*words).exit_code == 0
    assert {(it.headers["x-team"], it.headers["x-key"]) for it in hub.log} == {("a:b", "c")}
    for wrong in (
        ["--header", "hunter2"],
        ["--header", "Host: hunter2"],
        ["--proxy", "socks5://x"],
    ):
        failed = modelfetch("plan", REPO, *wrong)
        assert failed.exit_code == 2
        assert "hunter2" not in failed.output


def test_endpoints(hub: FakeHub) -> None:
    order = f"http://127.0.0.1:9,{hub.endpoint}"
    done = modelfetch("plan", REPO, "--endpoints", order, "--token", "0", "--json")
    assert done.exit_code == 0, done.output
    assert "127.0.0.1:9 gives no answer" in json.loads(done.stdout)["rule"]
    assert modelfetch("plan", REPO, "--endpoints", "http://127.0.0.1:9").exit_code == 2
