"""What every test gets: no settings of the machine it runs on, the same examples each run."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

# Before huggingface_hub is imported: it reads its environment once.
for name in [name for name in os.environ if name.startswith(("HF_", "MODELFETCH_", "HUGGING"))]:
    del os.environ[name]
os.environ["MODELFETCH_LMSTUDIO_HOME"] = os.devnull
# Most files of the tests tell their position, and are no GGUF; where they are, the test says so.
os.environ["MODELFETCH_CHECK_GGUF"] = "0"
os.environ["MODELFETCH_ADOPT"] = "0"
# Tests look into an engine, and change constants; TEST_ISOLATION=process runs the others beside.
os.environ["MODELFETCH_ISOLATION"] = os.environ.get("TEST_ISOLATION", "thread")
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"

import pytest
from hypothesis import HealthCheck, settings

import tests.authority  # noqa: F401  # sets SSL_CERT_FILE, before aiohttp is imported
from modelfetch import Engine
from modelfetch.core.retry import RetryPolicy
from modelfetch.testing import FakeHub

settings.register_profile(
    "default", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("default")


@pytest.fixture(scope="session", autouse=True)
def shared_state_dir(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where the jobs of fixtures that serve several tests are written down."""
    os.environ["MODELFETCH_STATE_DIR"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the jobs of this test are written down: nowhere else, in child processes too."""
    monkeypatch.setenv("MODELFETCH_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture(autouse=True)
def metadata(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the Hub is asked: which tests share a process is not to decide on that."""
    way: str = getattr(request, "param", "direct")
    for module in "hubcall", "hubtoken":
        monkeypatch.setattr(f"modelfetch.{module}.is_in_use", lambda: way == "session")
    return way


@pytest.fixture
async def hub() -> AsyncIterator[FakeHub]:
    async with FakeHub() as hub:
        yield hub


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A cache root."""
    return tmp_path / "cache"


@pytest.fixture
def settings_for(place: Path) -> Callable[..., dict[str, Any]]:
    """Settings of an engine for a hub: quick to give up, its cache in the test's folder."""

    def make(hub: FakeHub, **changes: Any) -> dict[str, Any]:
        quick = RetryPolicy(attempts=4, base_seconds=0.01, max_seconds=0.05)
        return {
            "endpoint": hub.endpoint,
            "cache_dir": place,
            "token": False,
            "retry": quick,
            "first_byte_timeout": 0.5,
            "read_timeout": 0.5,
            **changes,
        }

    return make


@pytest.fixture
async def engine(
    hub: FakeHub, settings_for: Callable[..., dict[str, Any]]
) -> AsyncIterator[Engine]:
    async with Engine(**settings_for(hub)) as engine:
        yield engine
