"""Each call of the API, over both adapters, on real sockets."""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, coded
from tests.web.conftest import Serving
from tests.web.lmstudio import EXAMPLES, check_download, check_status

from modelfetch import Engine, JobState
from modelfetch.storage import disk
from modelfetch.testing import FakeHub, RateLimited, Status, WrongBytes

ROOT = "/api/v1/models/download"
SLOW = 20_000  # bytes per second of a connection: a job that is still there when we look


async def post(
    http: aiohttp.ClientSession, url: str, body: Any = None, **options: Any
) -> tuple[int, Any]:
    async with http.post(url, json={} if body is None else body, **options) as answer:
        return answer.status, await answer.json()


async def get(http: aiohttp.ClientSession, url: str, **options: Any) -> tuple[int, Any]:
    async with http.get(url, **options) as answer:
        return answer.status, await answer.json()


async def started(http: aiohttp.ClientSession, url: str, hub: FakeHub, size: int = MiB) -> str:
    """Start a job that does not end before `hub.rate` is changed; return its id."""
    hub.add(REPO, {FILE: coded(size)})
    hub.rate = SLOW
    status, job = await post(http, url + ROOT, {"model": REPO, "quantization": LABEL})
    assert (status, job["status"]) == (200, "downloading")
    check_download(job)
    return str(job["job_id"])


async def ended(http: aiohttp.ClientSession, url: str, job_id: str) -> dict[str, Any]:
    """Poll as clients of LM Studio do, checking each answer, and return the last."""
    while True:
        status, job = await get(http, f"{url}{ROOT}/status/{job_id}")
        assert status == 200
        check_status(job)
        if job["status"] not in ("downloading", "paused"):
            return dict(job)
        await asyncio.sleep(0.01)


def test_our_schema_of_lm_studio_s_documentation_takes_its_examples() -> None:
    for example in EXAMPLES:
        check_status(example)
        check_download(example)
    check_download({"status": "already_downloaded"})


async def test_a_download_from_start_to_already_downloaded(
    hub: FakeHub, url: str, http: aiohttp.ClientSession
) -> None:
    job_id = await started(http, url, hub)
    assert re.fullmatch(r"job_[a-z0-9]+", job_id, re.IGNORECASE)
    hub.rate = None
    job = await ended(http, url, job_id)
    assert job["status"] == "completed"
    assert job["downloaded_bytes"] == job["total_size_bytes"] == MiB
    status, again = await post(http, url + ROOT, {"model": REPO, "quantization": LABEL})
    assert (status, again) == (200, {"status": "already_downloaded"})
    check_download(again)


async def test_a_second_request_joins_the_job(
    hub: FakeHub, url: str, http: aiohttp.ClientSession
) -> None:
    job_id = await started(http, url, hub)
    link = f"https://huggingface.co/{REPO}"
    _, job = await post(http, url + ROOT, {"model": link, "quantization": "q4_k_m"})
    assert job["job_id"] == job_id
    _, job = await post(http, url + ROOT, {"model": f"{REPO}:{LABEL}", "quantization": None})
    assert job["job_id"] == job_id


async def test_all_jobs_are_listed(hub: FakeHub, url: str, http: aiohttp.ClientSession) -> None:
    assert await get(http, url + ROOT) == (200, {"jobs": []})
    job_id = await started(http, url, hub)
    status, answer = await get(http, url + ROOT)
    assert status == 200
    assert [job["job_id"] for job in answer["jobs"]] == [job_id]
    check_status(answer["jobs"][0])


async def test_pause_and_resume(hub: FakeHub, url: str, http: aiohttp.ClientSession) -> None:
    job_id = await started(http, url, hub)
    for _ in range(2):  # the second is harmless
        status, job = await post(http, f"{url}{ROOT}/{job_id}/pause")
        assert (status, job["status"]) == (200, "paused")
        check_status(job)
    hub.rate = None
    status, job = await post(http, f"{url}{ROOT}/{job_id}/resume")
    assert status == 200
    check_status(job)
    job = await ended(http, url, job_id)
    assert job["status"] == "completed"
    for verb in ("pause", "resume"):
        status, answer = await post(http, f"{url}{ROOT}/{job_id}/{verb}")
        assert (status, answer["error"]["type"]) == (409, "invalid_state")


async def test_pause_needs_no_body(hub: FakeHub, url: str, http: aiohttp.ClientSession) -> None:
    job_id = await started(http, url, hub)
    headers = {"Content-Type": "application/json"}
    async with http.post(f"{url}{ROOT}/{job_id}/pause", headers=headers) as answer:
        assert answer.status == 200
        assert (await answer.json())["status"] == "paused"


@pytest.mark.parametrize("query", ["", "?delete_partial=false", "?delete_partial=true"])
async def test_cancelling_keeps_what_came_unless_asked(
    hub: FakeHub, url: str, http: aiohttp.ClientSession, place: Path, query: str
) -> None:
    job_id = await started(http, url, hub)
    while not (await get(http, f"{url}{ROOT}/status/{job_id}"))[1]["downloaded_bytes"]:
        await asyncio.sleep(0.01)
    for _ in range(2):
        async with http.delete(f"{url}{ROOT}/{job_id}{query}") as answer:
            assert answer.status == 200
            job = await answer.json()
        check_status(job)
        assert (job["status"], job["error"]["type"]) == ("failed", "cancelled")
    left = [path.name for path in place.rglob("*.incomplete*")]
    assert bool(left) == ("true" not in query)


async def test_a_job_that_fails_says_why(
    hub: FakeHub, url: str, http: aiohttp.ClientSession
) -> None:
    hub.add(REPO, {FILE: coded(5000)})
    hub.script(WrongBytes(at=100), times=None)
    _, job = await post(http, url + ROOT, {"model": REPO})
    job = await ended(http, url, job["job_id"])
    assert (job["status"], job["error"]["type"]) == ("failed", "integrity_error")


async def test_an_unknown_job(url: str, http: aiohttp.ClientSession) -> None:
    expected = {
        "error": {"type": "job_not_found", "message": "Download job with id 'job-2' not found"}
    }
    assert await get(http, f"{url}{ROOT}/status/job-2") == (404, expected)
    assert await get(http, f"{url}{ROOT}/events?job_id=job-2") == (404, expected)
    assert await post(http, f"{url}{ROOT}/job-2/pause") == (404, expected)
    assert await post(http, f"{url}{ROOT}/job-2/resume") == (404, expected)
    async with http.delete(f"{url}{ROOT}/job-2") as answer:
        assert (answer.status, await answer.json()) == (404, expected)


BUILDS = {"m-Q8_0.gguf": coded(9), "a/m-Q4_K_M.gguf": coded(9), "b/m-Q4_K_M.gguf": coded(8)}


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"model": "acme/nothing-GGUF"}, 404, {"type": "model_not_found"}),
        ({"model": "one word"}, 400, {"type": "invalid_request", "param": "model"}),
        ({"model": "https://example.com/a/b"}, 400, {"type": "invalid_request", "param": "model"}),
        ({"model": "file:///etc/passwd"}, 400, {"type": "invalid_request", "param": "model"}),
        (
            {"model": REPO, "quantization": "IQ2_M"},
            404,
            {"type": "quantization_not_found", "param": "quantization"},
        ),
        (
            {"model": REPO, "quantization": LABEL},
            409,
            {"type": "ambiguous_quantization", "param": "quantization"},
        ),
        ({"model": "acme/disabled-GGUF"}, 403, {"type": "access_denied"}),
    ],
)
async def test_what_the_caller_got_wrong(
    hub: FakeHub,
    url: str,
    http: aiohttp.ClientSession,
    body: dict[str, str],
    status: int,
    error: dict[str, str],
) -> None:
    hub.add(REPO, BUILDS)
    hub.add("acme/disabled-GGUF", {FILE: coded(9)}, disabled=True)
    code, answer = await post(http, url + ROOT, body)
    assert code == status
    assert error.items() <= answer["error"].items()
    assert not [record for record in hub.log if record.server == "cdn"]


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [(Status(503), 502, "hub_unavailable"), (RateLimited(77), 429, "rate_limited")],
)
async def test_a_hub_that_does_not_answer(
    hub: FakeHub,
    url: str,
    http: aiohttp.ClientSession,
    fault: Any,
    status: int,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("modelfetch.metadata._patience", lambda error, attempt: None)
    hub.add(REPO, {FILE: coded(9)})
    hub.script(fault, on="api", times=None)
    async with http.post(url + ROOT, json={"model": REPO}) as answer:
        assert answer.status == status
        assert (await answer.json())["error"]["type"] == kind
        if status == 429:
            assert int(answer.headers["Retry-After"]) == 77


async def test_a_gated_model_is_listed_and_then_refused(
    hub: FakeHub, url: str, http: aiohttp.ClientSession
) -> None:
    hub.add(REPO, {FILE: coded(9)}, gated=True)
    _, job = await post(http, url + ROOT, {"model": REPO})
    job = await ended(http, url, job["job_id"])
    assert (job["status"], job["error"]["type"]) == ("failed", "access_denied")


async def test_the_hub_s_no_to_our_token_is_not_a_no_to_the_caller_s(
    hub: FakeHub,
    settings_for: Callable[..., dict[str, Any]],
    serving: Serving,
    http: aiohttp.ClientSession,
) -> None:
    hub.add(REPO, {FILE: coded(9)})
    async with Engine(**settings_for(hub, token="hf_wrong")) as engine, serving(engine) as url:
        status, answer = await post(http, url + ROOT, {"model": REPO})
    assert (status, answer["error"]["code"]) == (403, "invalid_hub_token")
    assert "hf_wrong" not in str(answer)


async def test_a_full_disk_is_507_and_no_path_gets_out(
    hub: FakeHub, url: str, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "free_bytes", lambda path: 1000)
    hub.add(REPO, {FILE: coded(MiB)})
    status, answer = await post(http, url + ROOT, {"model": REPO})
    assert (status, answer["error"]["type"]) == (507, "insufficient_space")
    assert answer["error"]["message"] == (
        "The server's disk has no room: 1 MB are needed, 1 kB are free."
    )


async def test_no_path_gets_out_in_the_error_of_a_job(
    hub: FakeHub,
    url: str,
    http: aiohttp.ClientSession,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(fd: int, parts: Any, offset: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(place))

    # The one fault that a socket cannot make.
    monkeypatch.setattr(disk, "write_at", broken)
    hub.add(REPO, {FILE: coded(9)})
    _, job = await post(http, url + ROOT, {"model": REPO})
    job = await ended(http, url, job["job_id"])
    assert (job["status"], job["error"]["type"]) == ("failed", "storage_error")
    assert str(place) not in str(job)


async def test_a_disk_that_refuses_is_500_and_no_path_gets_out(
    hub: FakeHub, engine: Engine, url: str, http: aiohttp.ClientSession, place: Path
) -> None:
    hub.add(REPO, {FILE: coded(9)})
    place.parent.mkdir(exist_ok=True)
    place.write_text("a file where the cache should be")
    status, answer = await post(http, url + ROOT, {"model": REPO})
    assert (status, answer["error"]["type"]) == (500, "storage_error")
    assert str(place.parent) not in str(answer)


async def test_a_closed_engine_is_503(
    hub: FakeHub, engine: Engine, url: str, http: aiohttp.ClientSession
) -> None:
    await engine.close()
    status, answer = await post(http, url + ROOT, {"model": REPO})
    assert (status, answer["error"]["type"]) == (503, "unavailable")


async def test_what_nobody_foresaw_is_500_and_says_nothing(
    engine: Engine,
    url: str,
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(*args: Any) -> None:
        raise RuntimeError("secret /home/me")

    monkeypatch.setattr(engine, "download", broken)
    status, answer = await post(http, url + ROOT, {"model": REPO})
    assert status == 500
    assert answer == {
        "error": {
            "type": "internal_error",
            "message": "Something went wrong inside the server; its log has more.",
        }
    }
    assert "secret /home/me" in caplog.text


async def test_a_job_s_own_status_survives_its_engine(
    hub: FakeHub, engine: Engine, url: str, http: aiohttp.ClientSession
) -> None:
    job_id = await started(http, url, hub)
    await engine.close()
    status, job = await get(http, f"{url}{ROOT}/status/{job_id}")
    assert (status, job["status"]) == (200, JobState.PAUSED)


async def test_workers_of_one_server_answer_for_each_other(
    hub: FakeHub,
    serving: Serving,
    settings_for: Callable[..., dict[str, Any]],
    http: aiohttp.ClientSession,
) -> None:
    async with (
        Engine(**settings_for(hub)) as first,
        Engine(**settings_for(hub)) as second,
        serving(first) as one,
        serving(second) as other,
    ):
        job_id = await started(http, one, hub)
        status, job = await get(http, f"{other}{ROOT}/status/{job_id}")
        assert (status, job["status"]) == (200, "downloading")
        async with http.get(f"{other}{ROOT}/events", params={"job_id": job_id}) as events:
            status, job = await post(http, f"{other}{ROOT}/{job_id}/pause")
            assert (status, job["status"]) == (200, "paused")
            assert first.job(job_id).state is JobState.PAUSED
            hub.rate = None
            status, job = await post(http, f"{one}{ROOT}/{job_id}/resume")
            assert (status, job["status"]) == (200, "downloading")
            lines = (await events.text()).splitlines()
        assert '"status":"completed"' in lines[-2]
        assert (await ended(http, other, job_id))["downloaded_bytes"] == MiB
        _, answer = await post(http, other + ROOT, {"model": REPO, "quantization": LABEL})
        assert answer == {"status": "already_downloaded"}


async def test_a_worker_that_is_stuck_is_a_conflict_and_not_a_stopped_server(
    hub: FakeHub,
    serving: Serving,
    settings_for: Callable[..., dict[str, Any]],
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("modelfetch.life.PATIENCE_SECONDS", 0.3)
    async with (
        Engine(**settings_for(hub)) as first,
        Engine(**settings_for(hub)) as second,
        serving(first) as one,
        serving(second) as other,
    ):
        job_id = await started(http, one, hub)
        first._jobs._watch._watching.cancel()  # type: ignore[union-attr]
        status, answer = await post(http, f"{other}{ROOT}/{job_id}/pause")
        assert (status, answer["error"]["type"]) == (409, "invalid_state")
        assert "does not answer" in answer["error"]["message"]
