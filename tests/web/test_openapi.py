"""The OpenAPI document: it says what is so, and schemathesis tries to prove the opposite."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from jsonschema import Draft202012Validator
from tests.helpers import MiB, coded
from tests.web.conftest import on_aiohttp, on_uvicorn
from tests.web.lmstudio import EXAMPLES
from tests.web.served import served

from modelfetch import Engine
from modelfetch.testing import FakeHub
from modelfetch.web import aiohttp_routes, asgi_app
from modelfetch.web.openapi import document
from modelfetch.web.table import OPERATIONS, STATUSES

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
TOKEN = "sk-lm-test"
# The document's own example.
REPO = "lmstudio-community/gpt-oss-20b-GGUF"


def refs(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        for name, value in content.items():
            yield from [value] if name == "$ref" else refs(value)
    elif isinstance(content, list):
        for value in content:
            yield from refs(value)


def test_it_has_every_operation_and_no_loose_end() -> None:
    whole = document()
    assert whole["openapi"] == "3.1.0"
    described = {
        (method.upper(), path, operation["operationId"])
        for path, methods in whole["paths"].items()
        for method, operation in methods.items()
    }
    assert described == {(one.method, one.path, one.name) for one in OPERATIONS}
    known = {f"#/components/schemas/{name}" for name in whole["components"]["schemas"]}
    assert set(refs(whole)) <= known
    for schema in whole["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for operation in OPERATIONS:
        assert set(operation.errors) <= set(STATUSES)


def test_its_job_takes_lm_studio_s_examples() -> None:
    whole = document()
    job = {"$ref": "#/components/schemas/Job", "components": whole["components"]}
    answer = {"$ref": "#/components/schemas/DownloadResponse", "components": whole["components"]}
    for example in EXAMPLES:
        Draft202012Validator(job).validate(example)
        Draft202012Validator(answer).validate(example)
    assert not Draft202012Validator(job).is_valid({"status": "already_downloaded"})
    Draft202012Validator(answer).validate({"status": "already_downloaded"})
    assert not Draft202012Validator(job).is_valid({**EXAMPLES[1], "bytes_per_second": 1.0})


def test_it_asks_for_the_token_when_there_is_one() -> None:
    assert "security" not in document()
    whole = document(has_token=True)
    assert whole["security"] == [{"token": []}]
    assert whole["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert "401" in whole["paths"]["/openapi.json"]["get"]["responses"]


async def test_it_tells_where_the_api_is_mounted(
    engine: Engine, http: aiohttp.ClientSession
) -> None:
    sub = web.Application()
    sub.add_routes(aiohttp_routes(engine))
    app = web.Application()
    app.add_routes(aiohttp_routes(engine, prefix="/a/b"))
    app.add_subapp("/sub", sub)
    async with on_aiohttp(app) as url:
        for root in ("/a/b", "/sub"):
            async with http.get(f"{url}{root}/openapi.json") as answer:
                assert (await answer.json())["servers"] == [{"url": root}]
    async with (
        on_uvicorn(asgi_app(engine), root_path="/root") as url,
        http.get(f"{url}/openapi.json") as answer,
    ):
        assert (await answer.json())["servers"] == [{"url": "/root"}]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("token", [None, TOKEN])
def test_schemathesis_finds_nothing(token: str | None, tmp_path: Path) -> None:
    words = ["--api-token", token] if token else []
    headers = ["--header", f"Authorization: Bearer {token}"] if token else []
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {"gpt-oss-20b-Q4_K_M.gguf": coded(MiB)})
        with served(hub, tmp_path / "cache", *words) as server:
            done = subprocess.run(
                [
                    str(SCHEMATHESIS), "run", f"{server.url}/openapi.json", *headers,
                    "--checks", "all", "--seed", "1", "--max-examples", "25", "--no-color",
                    # Which texts are models is for the Hub to say, and no schema can.
                    "--exclude-checks", "positive_data_acceptance",
                    # A stream has no end to wait for; test_events.py has it.
                    "--exclude-operation-id", "downloadEvents",
                ],
                capture_output=True, text=True, check=False, cwd=tmp_path,
            )  # fmt: skip
            _, _, said = server.stop()
        assert hub.requests("cdn")  # it got as far as real downloads
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in said
