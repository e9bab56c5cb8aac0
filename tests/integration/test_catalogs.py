"""Ids of catalogues: who is asked, in which order, and what the plan says of it."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers import failure

from modelfetch import (
    Engine,
    HubUnavailable,
    InvalidConfiguration,
    ModelNotFound,
    QuantizationNotFound,
    ResolvedBy,
    hubcall,
    search,
)
from modelfetch.testing import FakeHub
from modelfetch.testing.faults import Reply, Status

ID = "qwen/qwen3-4b-2507"
BUILT_IN = "lmstudio-community/Qwen3-4B-Instruct-2507-GGUF"
FILES = {"m-Q4_K_M.gguf": b"four", "m-Q8_0.gguf": b"eight bits"}

Settings = Callable[..., dict[str, Any]]


def yaml(model: str, *repos: str) -> str:
    """A model.yaml that names repositories."""
    lines = [f"model: {model}", "base:"]
    for repo in repos:
        user, name = repo.split("/")
        source = f"{{type: huggingface, user: {user}, repo: {name}}}"
        lines += [f"  - key: {repo.lower()}", f"    sources: [{source}]"]
    return "\n".join(lines)


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    folder = tmp_path / "catalog"
    folder.mkdir()
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """LM Studio's folder."""
    return tmp_path / "lmstudio"


def stub(home: Path, text: str, model: str = ID) -> None:
    path = home / "hub" / "models" / model / "model.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)


@pytest.fixture
async def engine(
    hub: FakeHub, settings_for: Settings, catalog: Path, home: Path
) -> AsyncIterator[Engine]:
    async with Engine(**settings_for(hub, catalog=catalog, lmstudio_home=home)) as engine:
        yield engine


async def test_the_first_catalogue_that_knows_an_id_decides(
    hub: FakeHub, engine: Engine, catalog: Path, home: Path
) -> None:
    for repo in ("mine/A-GGUF", "stub/B-GGUF", BUILT_IN, ID):
        hub.add(repo, FILES)
    own = catalog / "m.yaml"
    own.write_text(yaml(ID, "mine/A-GGUF"))
    stub(home, yaml(ID, "stub/B-GGUF"))

    plan = await engine.plan(ID)
    assert (plan.repo, plan.resolved_by) == ("mine/A-GGUF", ResolvedBy.USER_CATALOG)
    assert f"{ID} is mine/A-GGUF by the user's catalogue" in plan.rule

    own.unlink()
    plan = await engine.plan(ID)
    assert (plan.repo, plan.resolved_by) == ("stub/B-GGUF", ResolvedBy.LM_STUDIO)
    assert f"{ID} is stub/B-GGUF by LM Studio's catalogue on this machine" in plan.rule

    (home / "hub" / "models" / ID / "model.yaml").unlink()
    plan = await engine.plan(ID)
    assert (plan.repo, plan.resolved_by) == (BUILT_IN, ResolvedBy.BUILT_IN)
    assert f"{ID} is {BUILT_IN} by the built-in table" in plan.rule


@pytest.mark.parametrize(
    "typed",
    [ID, f"https://lmstudio.ai/models/{ID}", f"lmstudio.ai/{ID}", f"{ID}:q8_0", f"{ID}@Q8_0"],
)
async def test_an_id_goes_with_a_quantization(hub: FakeHub, engine: Engine, typed: str) -> None:
    hub.add(BUILT_IN, FILES)
    asked = None if "8_0" in typed else "Q8_0"
    plan = await engine.plan(typed, asked)
    assert (plan.repo, plan.quantization) == (BUILT_IN, "Q8_0")
    assert [file.path for file in plan.files] == ["m-Q8_0.gguf"]


async def test_an_id_downloads(hub: FakeHub, engine: Engine) -> None:
    hub.add(BUILT_IN, FILES)
    model = await (await engine.download(ID, "Q8_0")).result()
    assert model.path.read_bytes() == b"eight bits"
    offered = await engine.variants(ID)
    assert offered.repo == BUILT_IN
    assert offered.resolution == f"{ID} is {BUILT_IN} by the built-in table"


async def test_a_missing_quantization_is_not_looked_for_elsewhere(
    hub: FakeHub, engine: Engine, catalog: Path
) -> None:
    hub.add("a/One-GGUF", FILES)
    hub.add("a/Two-GGUF", {"m-Q6_K.gguf": b"six"})
    (catalog / "m.yaml").write_text(yaml(ID, "a/One-GGUF", "a/Two-GGUF"))
    error = await failure(engine, ID, "Q6_K")
    assert isinstance(error, QuantizationNotFound)


async def test_a_repository_for_another_runtime_is_passed_over(
    hub: FakeHub, engine: Engine, catalog: Path
) -> None:
    hub.add("a/M-MLX-4bit", {"model.safetensors": b"x"})
    hub.add("a/M-quantized", FILES)
    (catalog / "m.yaml").write_text(yaml(ID, "a/M-MLX-4bit", "a/Gone", "a/M-quantized"))
    assert (await engine.plan(ID)).repo == "a/M-quantized"


async def test_a_catalogue_that_leads_to_nothing_says_so(
    hub: FakeHub, engine: Engine, catalog: Path
) -> None:
    hub.add("a/M-MLX-4bit", {"model.safetensors": b"x"})
    hub.add(BUILT_IN, FILES)
    (catalog / "m.yaml").write_text(yaml(ID, "a/M-MLX-4bit", "a/Gone"))
    error = await failure(engine, ID)
    assert isinstance(error, ModelNotFound)
    assert "a/M-MLX-4bit or a/Gone by the user's catalogue" in str(error)


async def test_a_model_may_stand_on_another(hub: FakeHub, engine: Engine, catalog: Path) -> None:
    hub.add(BUILT_IN, FILES)
    (catalog / "a.yaml").write_text("model: me/coder\nbase: me/tuned\n")
    (catalog / "b.yaml").write_text(f"model: me/tuned\nbase: {ID}\n")
    plan = await engine.plan("me/coder")
    assert (plan.repo, plan.resolved_by) == (BUILT_IN, ResolvedBy.BUILT_IN)
    assert f"me/coder is me/tuned by the user's catalogue, which is {ID} by" in plan.rule
    assert f"which is {BUILT_IN} by the built-in table" in plan.rule


async def test_a_model_may_stand_on_what_a_search_finds(
    hub: FakeHub, engine: Engine, catalog: Path
) -> None:
    hub.add("lmstudio-community/Tiny-1B-GGUF", FILES)
    (catalog / "a.yaml").write_text("model: me/coder\nbase: acme/tiny-1b\n")
    plan = await engine.plan("me/coder")
    assert plan.resolved_by is ResolvedBy.HUB_SEARCH
    assert "me/coder is acme/tiny-1b by the user's catalogue, which is lmstudio" in plan.rule
    (catalog / "a.yaml").write_text("model: me/coder\nbase: acme/other\n")
    assert "me/coder is acme/other by the user's" in str(await failure(engine, "me/coder"))


async def test_a_model_may_stand_on_a_repository(
    hub: FakeHub, engine: Engine, catalog: Path
) -> None:
    hub.add("Acme/Tiny-GGUF", FILES)
    (catalog / "a.yaml").write_text("model: Me/Coder\nbase: Acme/Tiny-GGUF\n")
    plan = await engine.plan("Me/Coder")
    assert (plan.repo, plan.resolved_by) == ("Acme/Tiny-GGUF", ResolvedBy.USER_CATALOG)


async def test_one_source_that_cannot_be_asked_does_not_hide_the_next(
    hub: FakeHub, settings_for: Settings, engine: Engine, catalog: Path
) -> None:
    hub.add("a/M-GGUF", FILES, disabled=True)
    hub.add("b/M-GGUF", FILES)
    (catalog / "m.yaml").write_text(yaml(ID, "a/M-GGUF", "b/M-GGUF"))
    await (await engine.download(ID)).result()
    async with Engine(**settings_for(hub, catalog=catalog, offline=True)) as alone:
        assert (await alone.plan(ID)).repo == "b/M-GGUF"


@pytest.mark.parametrize("bases", [["a/a"], ["a/b", "a/a"], ["a/b", "a/c", "a/b"]])
async def test_circles_end(hub: FakeHub, engine: Engine, catalog: Path, bases: list[str]) -> None:
    for model, base in zip(["a/a", *bases], bases, strict=False):
        (catalog / f"{model.replace('/', '-')}.yaml").write_text(f"model: {model}\nbase: {base}\n")
    error = await failure(engine, "a/a")
    assert isinstance(error, InvalidConfiguration)
    assert " -> ".join(["a/a", *bases]) in str(error)
    assert hub.log == []


async def test_a_chain_without_end_ends(hub: FakeHub, engine: Engine, catalog: Path) -> None:
    documents = [f"model: a/m{n}\nbase: a/m{n + 1}" for n in range(50)]
    (catalog / "all.yaml").write_text("\n---\n".join(documents))
    assert isinstance(await failure(engine, "a/m0"), InvalidConfiguration)


async def test_a_revision_or_a_file_makes_it_a_repository(hub: FakeHub, engine: Engine) -> None:
    hub.add(BUILT_IN, FILES)
    hub.add(ID, {"other-Q4_K_M.gguf": b"x"}, branch="v1")
    for typed in (f"{ID}@v1", f"https://huggingface.co/{ID}/tree/v1"):
        plan = await engine.plan(typed)
        assert (plan.repo, plan.resolved_by) == (ID, ResolvedBy.REPOSITORY)
    assert (await engine.plan(ID, revision="v1")).repo == ID


async def test_the_repository_of_that_name_goes_before_a_search(
    hub: FakeHub, engine: Engine
) -> None:
    hub.add("acme/tiny-1b", FILES)
    hub.add("lmstudio-community/tiny-1b-GGUF", FILES)
    plan = await engine.plan("acme/tiny-1b")
    assert (plan.repo, plan.resolved_by) == ("acme/tiny-1b", ResolvedBy.REPOSITORY)
    assert len(hub.requests("hub")) == 1


async def test_the_one_repository_of_that_name_is_found(hub: FakeHub, engine: Engine) -> None:
    hub.page_size = 2  # the search has pages
    for name in ("Tiny-1B-Thinking-GGUF", "Tiny-1B-it-GGUF", "Tiny-1.5B-GGUF", "Tiny-11B-GGUF"):
        hub.add(f"lmstudio-community/{name}", FILES)
    hub.add("lmstudio-community/Tiny-1B-MLX", {"model.safetensors": b"x"})
    hub.add("else/Tiny-1B-GGUF", FILES)
    plan = await engine.plan("acme/tiny-1b", "Q8_0")
    assert plan.repo == "lmstudio-community/Tiny-1B-it-GGUF"
    assert plan.resolved_by is ResolvedBy.HUB_SEARCH
    assert "acme/tiny-1b is lmstudio-community/Tiny-1B-it-GGUF by a search" in plan.rule


async def test_of_two_that_could_be_meant_none_is_taken(hub: FakeHub, engine: Engine) -> None:
    hub.add("lmstudio-community/Tiny-1B-Instruct-GGUF", FILES)
    hub.add("lmstudio-community/Tiny-1B-GGUF", FILES)
    error = await failure(engine, "acme/tiny-1b")
    assert isinstance(error, ModelNotFound)
    for repo in ("Tiny-1B-Instruct-GGUF", "Tiny-1B-GGUF"):
        assert f"lmstudio-community/{repo}" in str(error)


async def test_a_search_that_was_cut_proves_nothing(
    hub: FakeHub, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_FOUND", 2)
    hub.add("lmstudio-community/Tiny-1B-GGUF", FILES, downloads=9)
    hub.add("lmstudio-community/Tiny-2B-GGUF", FILES)
    assert (await engine.plan("acme/tiny-1b")).resolved_by is ResolvedBy.HUB_SEARCH
    hub.add("lmstudio-community/Tiny-3B-GGUF", FILES)
    assert isinstance(await failure(engine, "acme/tiny-1b"), ModelNotFound)


async def test_a_repository_that_is_there_is_not_replaced_by_a_like_one(
    hub: FakeHub, engine: Engine
) -> None:
    for name in ("gemma-2-27b", "gemma-2-27b-it"):
        hub.add(f"google/{name}", {"model.safetensors": b"x"})
    hub.add("lmstudio-community/gemma-2-27b-it-GGUF", FILES)
    assert isinstance(await failure(engine, "google/gemma-2-27b"), ModelNotFound)
    plan = await engine.plan("google/gemma-2-27b-it")
    assert plan.repo == "lmstudio-community/gemma-2-27b-it-GGUF"


async def test_what_is_typed_is_not_left_out(hub: FakeHub, engine: Engine) -> None:
    hub.add("lmstudio-community/Tiny-1B-GGUF", FILES)
    assert isinstance(await failure(engine, "acme/tiny-1b-instruct"), ModelNotFound)


async def test_a_search_that_ignores_what_it_is_asked(hub: FakeHub, engine: Engine) -> None:
    hub.ignores_queries = True
    hub.add("evil/Tiny-1B-GGUF", FILES, downloads=9)
    assert isinstance(await failure(engine, "acme/tiny-1b"), ModelNotFound)
    hub.add("lmstudio-community/Tiny-1B-GGUF", FILES)
    assert (await engine.plan("acme/tiny-1b")).repo == "lmstudio-community/Tiny-1B-GGUF"


async def test_an_endless_search_ends(hub: FakeHub, engine: Engine) -> None:
    class Endless:
        def apply(self, reply: Reply) -> Reply:
            link = f'<{hub.endpoint}/api/models?cursor=1>; rel="next"'
            return Reply(200, {"Content-Type": "application/json", "Link": link}, b"[]")

    hub.script(Endless(), on="api", path="/api/models", times=None)
    assert isinstance(await failure(engine, "acme/tiny-1b"), HubUnavailable)
    assert len(hub.requests("hub")) < 100


async def test_nonsense_from_the_hub(hub: FakeHub, engine: Engine) -> None:
    class Nested:
        def apply(self, reply: Reply) -> Reply:
            return Reply(200, {"Content-Type": "application/json"}, b"[" * 200_000)

    hub.script(Nested(), on="api", times=None)
    assert isinstance(await failure(engine, "Acme/Tiny"), HubUnavailable)


async def test_what_nobody_knows_says_who_was_asked(hub: FakeHub, engine: Engine) -> None:
    error = await failure(engine, "acme/unheard-of")
    assert isinstance(error, ModelNotFound)
    for asked in ("user's catalogue", "LM Studio", "built-in", "lmstudio-community"):
        assert asked in str(error)


async def test_a_mirror_without_a_search_is_no_fault(hub: FakeHub, engine: Engine) -> None:
    hub.script(Status(404), on="api", path="/api/models", times=None)
    assert isinstance(await failure(engine, "acme/unheard-of"), ModelNotFound)


async def test_pages_without_end_end(
    hub: FakeHub, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubcall, "MAX_PAGES", 3)
    hub.add(BUILT_IN, {f"m{n}-Q8_0.gguf": b"x" for n in range(5)})
    hub.lists_sizes, hub.page_size = False, 1
    error = await failure(engine, ID)
    assert isinstance(error, HubUnavailable)
    assert "more than 3 pages" in str(error)


async def test_a_catalogue_answers_when_the_hub_does_not(
    hub: FakeHub, engine: Engine, settings_for: Settings
) -> None:
    hub.add(BUILT_IN, FILES)
    hub.add("lmstudio-community/Tiny-1B-it-GGUF", FILES)
    for model in (ID, "acme/tiny-1b"):
        await (await engine.download(model, "Q8_0")).result()
    async with Engine(**settings_for(hub, offline=True)) as alone:
        for model, by in ((ID, ResolvedBy.BUILT_IN), ("acme/tiny-1b", ResolvedBy.HUB_SEARCH)):
            plan = await alone.plan(model, "Q8_0")
            assert plan.resolved_by is by
            assert "from the cache" in plan.rule
        assert isinstance(await failure(alone, "acme/other"), HubUnavailable)


BROKEN = [
    b"\xff\xfe\x00",
    b"model: [",
    b"- model",
    f"model: {ID}".encode(),
    f"model: {ID}\nbase: 5\n".encode(),
    f"model: {ID}\nbase: []\n".encode(),
    f"model: {ID}\nbase: [x]\n".encode(),
    f"model: {ID}\nbase: ../../etc/passwd\n".encode(),
    f"model: {ID}\nbase:\n - sources: [{{type: huggingface, user: ../a, repo: b}}]".encode(),
    f"model: {ID}\nbase:\n - sources: [{{type: huggingface}}]".encode(),
    f"model: {ID}\nbase: {'[' * 5000}".encode(),
    f"model: {ID}\nbase: a/b\n".encode() + b"#" * (1 << 20),
    f"model: {ID}\nbase: &a [*a]".encode(),
    f"# {ID}\nmodel: !!python/object/apply:os.system [exit 1]\n".encode(),
]
UNRELATED = [f"# {ID}\nmodel: !!python/object/apply:os.system [exit 1]\n".encode()]
TIDY: dict[str, Any] = {"ids": lambda text: text[:40].decode("utf-8", "replace").replace("\n", "|")}


@pytest.mark.parametrize("text", BROKEN, **TIDY)
async def test_a_broken_stub_is_skipped(
    hub: FakeHub, engine: Engine, home: Path, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    hub.add(BUILT_IN, FILES)
    stub(home, "")
    (home / "hub" / "models" / ID / "model.yaml").write_bytes(text)
    with caplog.at_level(logging.WARNING, "modelfetch"):
        assert (await engine.plan(ID)).repo == BUILT_IN
    assert ("is skipped" in caplog.text) is (text not in (*UNRELATED, b"- model"))


@pytest.mark.parametrize("text", BROKEN, **TIDY)
async def test_a_broken_file_of_the_user_is_an_error(
    hub: FakeHub, engine: Engine, catalog: Path, text: bytes
) -> None:
    hub.add(BUILT_IN, FILES)
    path = catalog / "broken.yaml"
    path.write_bytes(text)
    if len(text) > 1 << 20:
        text *= 9
        path.write_bytes(text)
    if ID.encode() in text and text not in UNRELATED:
        error = await failure(engine, ID)
        assert isinstance(error, InvalidConfiguration)
        assert str(path) in str(error)
    else:  # it is about something else, as far as one can see
        assert (await engine.plan(ID)).repo == BUILT_IN


async def test_the_configured_file_must_be_sound(
    hub: FakeHub, settings_for: Settings, catalog: Path
) -> None:
    path = catalog / "model.yaml"
    path.write_text("model: [")
    async with Engine(**settings_for(hub, catalog=path)) as engine:
        assert isinstance(await failure(engine, ID), InvalidConfiguration)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
async def test_a_catalogue_in_another_encoding(
    hub: FakeHub, engine: Engine, catalog: Path, encoding: str
) -> None:
    hub.add("mine/A-GGUF", FILES)
    (catalog / "m.yaml").write_text(yaml(ID, "mine/A-GGUF"), encoding=encoding)
    assert (await engine.plan(ID)).repo == "mine/A-GGUF"


async def test_a_pipe_in_a_catalogue_blocks_nobody(
    hub: FakeHub, engine: Engine, catalog: Path, home: Path
) -> None:
    hub.add(BUILT_IN, FILES)
    stub(home, "")
    path = home / "hub" / "models" / ID / "model.yaml"
    path.unlink()
    os.mkfifo(path)
    assert (await engine.plan(ID)).repo == BUILT_IN
    os.mkfifo(catalog / "x.yaml")
    assert isinstance(await failure(engine, ID), InvalidConfiguration)


@pytest.mark.parametrize("trouble", [PermissionError(13, "no"), RuntimeError("no home")])
async def test_a_home_that_cannot_be_looked_into(
    hub: FakeHub, settings_for: Settings, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    def fail() -> Path:
        raise trouble

    monkeypatch.delenv("MODELFETCH_LMSTUDIO_HOME")
    monkeypatch.setattr(Path, "home", fail)
    hub.add(BUILT_IN, FILES)
    async with Engine(**settings_for(hub)) as engine:
        assert (await engine.plan(ID)).repo == BUILT_IN


async def test_a_stub_speaks_for_its_own_id_only(hub: FakeHub, engine: Engine, home: Path) -> None:
    hub.add("evil/B-GGUF", FILES)
    hub.add(BUILT_IN, FILES)
    stub(home, yaml(ID, "evil/B-GGUF"), model="evil/b")
    assert (await engine.plan(ID)).repo == BUILT_IN


async def test_two_files_may_not_differ(hub: FakeHub, engine: Engine, catalog: Path) -> None:
    hub.add("a/One-GGUF", FILES)
    (catalog / "1.yaml").write_text(yaml(ID, "a/One-GGUF"))
    (catalog / "deep").mkdir()
    (catalog / "deep" / "2.yml").write_text(yaml(ID, "a/One-GGUF"))
    assert (await engine.plan(ID)).repo == "a/One-GGUF"
    (catalog / "deep" / "2.yml").write_text(yaml(ID, "a/Two-GGUF"))
    assert isinstance(await failure(engine, ID), InvalidConfiguration)


async def test_a_catalogue_that_is_not_there(hub: FakeHub, settings_for: Settings) -> None:
    async with Engine(**settings_for(hub, catalog="/nowhere/at-all")) as engine:
        error = await failure(engine, ID)
    assert isinstance(error, InvalidConfiguration)
    assert "MODELFETCH_CATALOG" in str(error)


async def test_the_environment_sets_the_catalogue(
    hub: FakeHub, settings_for: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("mine/A-GGUF", FILES)
    (tmp_path / "model.yaml").write_text(yaml(ID, "mine/A-GGUF"))
    monkeypatch.setenv("MODELFETCH_CATALOG", str(tmp_path / "model.yaml"))
    async with Engine(**settings_for(hub)) as engine:
        assert (await engine.plan(ID)).repo == "mine/A-GGUF"
