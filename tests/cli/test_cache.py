"""`modelfetch ls`, `verify`, `rm`, `prune` and `du`, as a user and as a script see them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.helpers import FILE, LABEL, REPO, MiB, assert_same, coded

from modelfetch.cli import _cli
from modelfetch.testing import FakeHub

CONTENT = coded(3 * MiB + 7)


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {FILE: CONTENT, "tiny-Q8_0.gguf": coded(MiB, 2)})
        monkeypatch.setenv("MODELFETCH_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("MODELFETCH_CACHE_DIR", str(tmp_path / "cache"))
        for quantization in (LABEL, "Q8_0"):
            assert modelfetch("get", REPO, "-q", quantization).exit_code == 0
        hub.reset_log()
        yield hub


def modelfetch(*words: str) -> Result:
    return CliRunner().invoke(_cli, words, prog_name="modelfetch")


def blob(tmp_path: Path) -> Path:
    return next(tmp_path.glob(f"cache/models--*/blobs/{CONTENT.sha256}"))


def damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(2 * MiB)
        file.write(b"\xff\xfe")


def test_ls_has_a_line_for_each_quantization() -> None:
    done = modelfetch("ls")
    assert done.exit_code == 0, done.output
    header, first, second = done.stdout.splitlines()
    assert " ".join(header.split()) == "repository quantization size files revision last used"
    assert first.split()[:6] == [REPO, "Q8_0", "1.0", "MB", "1", "main"]
    assert second.split()[:6] == [REPO, LABEL, "3.1", "MB", "1", "main"]
    assert first.rstrip().endswith("just now")


def test_ls_shows_what_is_not_finished(tmp_path: Path) -> None:
    folder = blob(tmp_path).parent
    (folder / f"{'a' * 64}.incomplete").write_bytes(bytes(5000))
    line = modelfetch("ls").stdout.splitlines()[-1]
    assert "unfinished, ?" in line
    assert "a" * 12 in line
    (model,) = json.loads(modelfetch("ls", "--json").stdout)
    assert model["partials"][0]["held_bytes"] == 5000
    assert model["partials"][0]["percent"] is None
    assert [build["quantization"] for build in model["builds"]] == ["Q8_0", LABEL]


def test_verify_says_that_all_is_well(tmp_path: Path) -> None:
    done = modelfetch("verify")
    assert (done.exit_code, done.stdout) == (0, "2 files, 4.2 MB: all sound\n")
    assert json.loads(modelfetch("verify", "--json").stdout)["damaged"] == []


def test_verify_ends_in_7_and_names_the_file(tmp_path: Path) -> None:
    damage(blob(tmp_path))
    done = modelfetch("verify", REPO)
    assert done.exit_code == 7
    assert f"damaged: {REPO} {FILE} (1.0 MB to fetch)" in done.stdout


def test_verify_repair_fetches_the_damaged_piece(hub: FakeHub, tmp_path: Path) -> None:
    damage(blob(tmp_path))
    done = modelfetch("verify", "--repair")
    assert done.exit_code == 0, done.output
    assert f"damaged: {REPO} {FILE} (1.0 MB to fetch) repaired" in done.stdout
    assert hub.sent_bytes(FILE) == MiB
    assert_same(blob(tmp_path), CONTENT)
    assert modelfetch("verify").exit_code == 0


def test_verify_repair_takes_0_for_no_token(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_environment")
    damage(blob(tmp_path))
    assert modelfetch("verify", "--repair", "--token", "0").exit_code == 0
    assert {record.headers.get("authorization") for record in hub.requests("hub")} == {None}


def test_a_repair_without_a_hub_fails_and_the_next_one_goes_on(
    hub: FakeHub, tmp_path: Path
) -> None:
    damage(blob(tmp_path))
    done = modelfetch("verify", "--repair", "--endpoint", "http://127.0.0.1:9")
    assert done.exit_code == 7
    assert "NOT repaired" in done.stdout
    assert modelfetch("get", REPO, "-q", LABEL).exit_code == 0
    assert hub.sent_bytes(FILE) == MiB


def test_rm_removes_one_quantization_then_all(tmp_path: Path) -> None:
    done = modelfetch("rm", f"{REPO}:{LABEL}")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1].endswith("MB freed")
    assert LABEL not in modelfetch("ls").stdout
    done = modelfetch("rm", REPO, "--json")
    assert json.loads(done.stdout)["freed_bytes"] >= MiB
    assert json.loads(modelfetch("ls", "--json").stdout) == []
    done = modelfetch("rm", REPO)
    assert done.exit_code == 3
    assert REPO in done.stderr


def test_prune_only_lists_until_told_otherwise(tmp_path: Path) -> None:
    partial = blob(tmp_path).parent / f"{'a' * 64}.incomplete"
    partial.write_bytes(bytes(5000))
    assert modelfetch("prune").stdout == "0 bytes would be freed\n"
    done = modelfetch("prune", "--older-than", "0s")
    assert str(partial) in done.stdout
    assert "--yes" in done.stderr
    assert partial.exists()
    done = modelfetch("prune", "--older-than", "0s", "--yes")
    assert done.exit_code == 0
    assert not partial.exists()
    assert blob(tmp_path).exists()
    assert modelfetch("prune", "--older-than", "soon").exit_code == 2


def test_du_adds_up() -> None:
    usage = json.loads(modelfetch("du", "--json").stdout)
    assert usage["total_bytes"] == usage["repos"][0]["size_bytes"] + usage["other_bytes"]
    lines = modelfetch("du").stdout.splitlines()
    assert lines[1].split()[-1] == REPO
    assert lines[-1].split()[-1] == "free"


def test_names_from_strangers_do_nothing_to_the_terminal(tmp_path: Path) -> None:
    """Other programs' names in the cache: a sequence for the terminal, another line, no UTF-8."""
    repo = blob(tmp_path).parents[1]
    commit = (repo / "refs/main").read_text()
    (repo / "refs/\x1b[31mred").write_text(commit)
    for name in (b"x\x1b]0;y\x07\n-Q6_K.gguf", b"\xff-Q5_K_M.gguf"):
        (repo / "snapshots" / commit / os.fsdecode(name)).symlink_to("nowhere")
    (repo / "blobs/\x1b[2J.incomplete").touch()
    for words in (["ls"], ["verify"], ["prune", "--older-than", "0"], ["rm", REPO]):
        done = modelfetch(*words)
        assert done.exit_code in (0, 7), done.output
        assert "\\x1b" in done.output
        assert all(line.isprintable() for line in done.output.split("\n"))
