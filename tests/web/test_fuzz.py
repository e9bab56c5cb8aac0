"""Any text for a model, a quantization or a job: an answer as documented, no 500, no other host."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from tests.helpers import FILE, LABEL, REPO, coded
from tests.web.served import Server, served

from modelfetch.testing import FakeHub
from modelfetch.web.openapi import document

ROOT = "/api/v1/models/download"
_ERROR = Draft202012Validator(
    {"$ref": "#/components/schemas/Error", "components": document()["components"]}
)
_PARTS = st.sampled_from(
    [
        *(REPO, FILE, LABEL, "acme", "auto", "resolve/main", "tree/refs/pr/1", "huggingface.co"),
        *("https://", "http://", "hf://", "file:///etc/passwd", "127.0.0.1:9", "..", "%2e%2e"),
        *("/", "//", ":", "@", "#", "?", "\\", " ", "%00", "\x00", "\r\nX-Evil: 1", "\x1b[31m"),
    ]
)
TEXTS = st.one_of(
    st.text(max_size=300),
    st.lists(_PARTS, max_size=8).map("".join),
    st.text(string.printable, max_size=60),
)


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {FILE: coded(9), "tiny-Q8_0.gguf": coded(8)})
        yield hub


@pytest.fixture(scope="module")
def server(hub: FakeHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(hub, tmp_path_factory.mktemp("cache")) as server:
        yield server
        _, _, said = server.stop()
        assert "Traceback" not in said


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        yield client


def check(answer: httpx.Response) -> None:
    assert answer.status_code < 500, answer.text
    assert answer.text.isascii()
    assert "\n" not in answer.text
    assert "x-evil" not in answer.headers
    if answer.status_code >= 400:
        _ERROR.validate(answer.json())


@settings(max_examples=300)
@given(model=TEXTS, quantization=st.none() | TEXTS)
@example(model=REPO, quantization=LABEL)
@example(model=f"http://127.0.0.1:9/{REPO}", quantization=None)
@example(model=f"{REPO}@main:Q4_K_M\r\n", quantization="auto")
@example(model=REPO, quantization="\ud800")
def test_models_and_quantizations(
    client: httpx.Client, hub: FakeHub, model: str, quantization: str | None
) -> None:
    body = json.dumps({"model": model, "quantization": quantization})
    headers = {"Content-Type": "application/json"}
    answer = client.post(ROOT, content=body, headers=headers)
    check(answer)
    # Nobody but the configured Hub was asked: a refused connection elsewhere would be a 502.
    assert answer.status_code in (200, 400, 403, 404, 409)


@settings(max_examples=100)
@given(job_id=TEXTS.filter(lambda text: text not in ("", ".", "..")))
def test_job_ids(client: httpx.Client, job_id: str) -> None:
    quoted = quote(job_id, safe="")
    check(client.get(f"{ROOT}/status/{quoted}"))
    check(client.get(f"{ROOT}/events?job_id={quoted}"))
    check(client.delete(f"{ROOT}/{quoted}?delete_partial={quoted}"))


@settings(max_examples=100)
@given(body=st.binary(max_size=200))
def test_bodies(client: httpx.Client, body: bytes) -> None:
    answer = client.post(ROOT, content=body, headers={"Content-Type": "application/json"})
    check(answer)
    assert answer.status_code == 400
