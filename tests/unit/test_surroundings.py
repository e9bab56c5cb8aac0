"""Which proxies count, and that a start does not load what would say so for nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from modelfetch import Config
from modelfetch.surroundings import proxies_for
from modelfetch.testing import FakeHub

URL = "https://cdn.example/a"


@pytest.fixture(autouse=True)
def silent_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    found = {"https": "http://settings.example:1"}
    monkeypatch.setattr(urllib.request, "getproxies", lambda: found)
    monkeypatch.setattr(urllib.request, "proxy_bypass", lambda host: host == "here.example")


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_settings_of_the_system_count_where_the_environment_says_nothing(
    platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    proxies = proxies_for(Config())
    assert proxies.of(URL) == "http://settings.example:1"
    assert proxies.of("https://here.example/a") is None
    monkeypatch.setenv("https_proxy", "http://environment.example:1")
    assert proxies_for(Config()).of(URL) == "http://environment.example:1"
    monkeypatch.setenv("NO_PROXY", "cdn.example")
    assert proxies_for(Config()).of(URL) is None


def test_elsewhere_the_environment_is_all_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert proxies_for(Config()).of(URL) is None
    monkeypatch.setenv("All_Proxy", "http://environment.example:1")
    assert proxies_for(Config()).of(URL) == "http://environment.example:1"


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="there it asks the system")
def test_a_download_in_a_thread_does_not_load_what_it_does_not_need(tmp_path: Path) -> None:
    code = """
import sys, modelfetch
model = modelfetch.fetch("a/b", endpoint=sys.argv[1], cache_dir=sys.argv[2], token=False)
print(model.path.read_bytes(), *sys.modules)
"""
    environ = {**os.environ, "HF_HOME": str(tmp_path), "MODELFETCH_STATE_DIR": str(tmp_path)}
    with FakeHub.in_thread() as hub:
        hub.add("a/b", {"c.gguf": b"GGUF"})
        content, *loaded = subprocess.run(
            [sys.executable, "-c", code, hub.endpoint, str(tmp_path / "cache")],
            capture_output=True, text=True, check=True, env=environ,
        ).stdout.split()  # fmt: skip
    assert content == "b'GGUF'"
    assert "modelfetch.streams" in loaded
    unwanted = {"urllib.request", "http.client", "aiohttp", "modelfetch.frames", "httpx"}
    unwanted |= {
        "statistics",
        "modelfetch.core.survey",
        "modelfetch.core.fit",
        "modelfetch.web.settings",
    }
    assert not unwanted & set(loaded)
