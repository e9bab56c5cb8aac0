"""Round trips with the newest huggingface_hub of each major version, in its own environment."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.helpers import FILE, LABEL, REPO, MiB, assert_same, coded
from tests.interop.programs import environment

import modelfetch
from modelfetch import JobState, JobStatus
from modelfetch.testing import FakeHub

SIDE = "README.md"
CONTENT = coded(3 * MiB)
FETCH = """
import sys
from huggingface_hub import hf_hub_download
repo, cache, *names = sys.argv[1:]
for name in names:
    print(hf_hub_download(repo, name, cache_dir=cache, token=False))
"""
READ = """
import json, sys
from huggingface_hub import __version__, hf_hub_download, scan_cache_dir, try_to_load_from_cache
repo, cache, name, commit = sys.argv[1:]
info = scan_cache_dir(cache)
print(json.dumps({
    "version": __version__,
    "warnings": [str(warning) for warning in info.warnings],
    "size": info.size_on_disk,
    "by branch": try_to_load_from_cache(repo, name, cache_dir=cache),
    "by commit": try_to_load_from_cache(repo, name, cache_dir=cache, revision=commit),
    "offline": hf_hub_download(repo, name, cache_dir=cache, local_files_only=True),
}))
"""

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(params=["1", "2"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Other:
    """huggingface_hub of one version."""

    def __init__(self, version: str, hub: FakeHub, home: Path) -> None:
        self._programs = environment(f"huggingface_hub>={version},<{int(version) + 1}")
        # Version 1 takes another port of one host for the Hub itself, and follows: so another name.
        endpoint = hub.endpoint.replace("127.0.0.1", "localhost")
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self._environment = {
            **kept,
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "NO_COLOR": "1",
        }

    def run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            env=self._environment, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def test_it_reads_and_verifies_what_we_wrote(version: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with FakeHub.in_thread() as hub:
        commit = hub.add(REPO, {FILE: CONTENT})
        model = modelfetch.fetch(REPO, LABEL, endpoint=hub.endpoint, cache_dir=cache, token=False)
        other = Other(version, hub, tmp_path / "home")
        read = json.loads(other.run("python", "-c", READ, REPO, str(cache), FILE, commit))
        assert read["version"].split(".")[0] == version
        assert read["warnings"] == []
        assert read["size"] == CONTENT.size
        assert read["by branch"] == read["by commit"] == read["offline"] == str(model.path)
        listed = other.run("hf", "cache", "ls", "--cache-dir", str(cache))
        assert REPO in listed
        other.run("hf", "cache", "verify", REPO, "--cache-dir", str(cache), "--fail-on-extra-files")
        other.run("hf", "cache", "prune", "--yes", "--cache-dir", str(cache))
        assert_same(model.path, CONTENT)
        hub.reset_log()
        fetched = other.run("python", "-c", FETCH, REPO, str(cache), FILE)
        assert fetched.strip() == str(model.path)
        assert hub.requests("cdn") == []


def test_we_read_what_it_wrote(version: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with FakeHub.in_thread() as hub:
        hub.add(REPO, {FILE: CONTENT, SIDE: "# tiny\n"})
        other = Other(version, hub, tmp_path / "home")
        theirs = other.run("python", "-c", FETCH, REPO, str(cache), FILE, SIDE).split()
        hub.reset_log()
        seen: list[JobStatus] = []
        model = modelfetch.fetch(
            REPO, LABEL, endpoint=hub.endpoint, cache_dir=cache, token=False, on_status=seen.append
        )
        assert hub.requests("cdn") == []
        assert seen[-1].state is JobState.ALREADY_DOWNLOADED
        assert str(model.path) == theirs[0]
        checked = modelfetch.Cache(cache).verify()
        assert checked.damaged == ()
