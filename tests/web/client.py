"""A client as programs for LM Studio have it."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import quote

import httpx

ROOT = "/api/v1/models/download"


def lm_studio_client(url: str, model: str, token: str = "") -> list[dict[str, Any]]:
    """Download as programs for LM Studio do, and return the answers; raises where they would.

    They check `error` in the body whatever the status is, the form of the job id, put it into the
    path, and poll until "completed" or "failed"; sizes that are absent count as before.
    """
    answers: list[dict[str, Any]] = []

    def call(method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = client.request(method, path, json=body)
        content = answer.json()
        if "error" in content and "status" not in content:
            raise RuntimeError(content["error"]["message"])
        answer.raise_for_status()
        answers.append(content)
        return dict(content)

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
        job = call("POST", ROOT, {"model": model})
        if job["status"] == "already_downloaded":
            assert "job_id" not in job
            return answers
        if not re.match(r"^job_[a-z0-9]+$", job["job_id"], re.IGNORECASE):
            raise RuntimeError("Invalid download job.")
        total, shown = job.get("total_size_bytes", 0), -1.0
        while job["status"] not in ("completed", "failed"):
            job = call("GET", f"{ROOT}/status/{quote(job['job_id'], safe='')}")
            done = job.get("downloaded_bytes", total if job["status"] == "completed" else 0)
            percent = 100 * done / job.get("total_size_bytes", total)
            assert percent >= shown
            shown = percent
            time.sleep(0.02)
    return answers
