"""A repository without GGUF files: its conversions are named, and taken only on demand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.helpers import failure

from modelfetch import (
    AmbiguousQuantization,
    Engine,
    HubUnavailable,
    InsufficientMemory,
    ModelNotFound,
    QuantizationNotFound,
    ResolvedBy,
)
from modelfetch.testing import FakeHub, PositionCoded
from modelfetch.testing.faults import Reset, Status

BASE = "Qwen/Qwen3-4B-Instruct-2507"
DECLARED = f"base_model:quantized:{BASE}"
NAME = "Qwen3-4B-Instruct-2507-GGUF"

Settings = Callable[..., dict[str, Any]]


def converted(
    hub: FakeHub, repo: str, *labels: str, downloads: int = 0, declared: bool = True
) -> None:
    """Add a conversion that offers some quantizations."""
    files = {f"{NAME}-{label}.gguf": f"{repo} {label}".encode() for label in labels or ("Q4_K_M",)}
    tags = (f"base_model:{BASE}", DECLARED) if declared else ()
    hub.add(repo, files, tags=tags, downloads=downloads)


@pytest.fixture
async def engine(hub: FakeHub, settings_for: Settings) -> AsyncIterator[Engine]:
    async with Engine(**settings_for(hub, memory_bytes=8 << 30)) as engine:
        yield engine


@pytest.fixture(autouse=True)
def weights(hub: FakeHub) -> None:
    hub.add(BASE, {"model.safetensors": b"x", "config.json": b"{}"})


async def conversions(engine: Engine, *request: str) -> tuple[str, ...]:
    error = await failure(engine, *(request or (BASE,)))
    assert isinstance(error, ModelNotFound)
    return error.conversions


async def test_they_are_named_in_the_order_of_their_publishers(
    hub: FakeHub, engine: Engine
) -> None:
    converted(hub, f"aaa/{NAME}", downloads=7)
    converted(hub, f"zzz/{NAME}", downloads=900)
    converted(hub, f"bartowski/Qwen_{NAME}", downloads=100)
    converted(hub, f"unsloth/{NAME}", downloads=200)
    converted(hub, f"lmstudio-community/{NAME}", downloads=50)
    converted(hub, f"ggml-org/{NAME}")
    converted(hub, f"Qwen/{NAME}")
    assert await conversions(engine) == (
        f"Qwen/{NAME}",
        f"ggml-org/{NAME}",
        f"lmstudio-community/{NAME}",
        f"unsloth/{NAME}",
        f"bartowski/Qwen_{NAME}",
        f"zzz/{NAME}",
        f"aaa/{NAME}",
    )


async def test_the_error_has_the_command_to_type(hub: FakeHub, engine: Engine) -> None:
    converted(hub, f"unsloth/{NAME}")
    error = await failure(engine, BASE, "Q4_K_M")
    assert str(error).startswith(f"{BASE} has no GGUF files.")
    assert f"modelfetch get unsloth/{NAME}:Q4_K_M" in str(error)
    assert "--any-publisher" in str(error)
    for hostile in ("$(reboot)", "Q4_K_M;reboot #", "Q4_K_M\x1b[2J"):
        error = await failure(engine, BASE, hostile)
        assert f"modelfetch get unsloth/{NAME}. Or" in str(error)
    assert f"unsloth/{NAME}:auto" in str(await failure(engine, BASE, "auto"))


async def test_what_is_called_so_counts_and_what_is_called_nearly_so_does_not(
    hub: FakeHub, engine: Engine
) -> None:
    converted(hub, f"someone/Qwen_{NAME}", declared=False, downloads=3)
    converted(hub, f"other/{NAME.lower()}", declared=False, downloads=2)
    converted(hub, "someone/Qwen3-4B-Instruct-2507-abliterated-GGUF", declared=False)
    converted(hub, "someone/My-Qwen3-4B-Instruct-2507-GGUF", declared=False)
    hub.add(f"mlx/{NAME.removesuffix('-GGUF')}", {"model.safetensors": b"x"})
    assert await conversions(engine) == (f"someone/Qwen_{NAME}", f"other/{NAME.lower()}")


async def test_the_preference_can_be_set(
    hub: FakeHub, settings_for: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted(hub, f"unsloth/{NAME}")
    converted(hub, f"mine/{NAME}")
    async with Engine(**settings_for(hub, publishers=("mine",))) as engine:
        assert await conversions(engine) == (f"mine/{NAME}", f"unsloth/{NAME}")
    monkeypatch.setenv("MODELFETCH_PUBLISHERS", " {owner}, mine ")
    async with Engine(**settings_for(hub)) as engine:
        assert await conversions(engine) == (f"mine/{NAME}", f"unsloth/{NAME}")


async def test_the_first_that_has_it_is_taken_on_demand(hub: FakeHub, engine: Engine) -> None:
    converted(hub, f"ggml-org/{NAME}", "Q8_0")
    converted(hub, f"unsloth/{NAME}", "Q4_K_M", "Q6_K")
    plan = await engine.plan(BASE, "Q6_K", allow_conversions=True)
    assert (plan.repo, plan.resolved_by) == (f"unsloth/{NAME}", ResolvedBy.CONVERSION)
    assert f"{BASE} has no GGUF files itself, and this is its conversion by unsloth" in plan.rule
    plan = await engine.plan(f"{BASE}:Q8_0", allow_conversions=True)
    assert plan.repo == f"ggml-org/{NAME}"
    job = await engine.download(BASE, "Q6_K", allow_conversions=True)
    assert (await job.result()).path.read_bytes() == f"unsloth/{NAME} Q6_K".encode()


async def test_a_setting_allows_them_and_a_call_forbids_them(
    hub: FakeHub, settings_for: Settings
) -> None:
    converted(hub, f"unsloth/{NAME}")
    async with Engine(**settings_for(hub, allow_conversions=True)) as engine:
        assert (await engine.plan(BASE)).repo == f"unsloth/{NAME}"
        assert (await engine.variants(BASE)).repo == f"unsloth/{NAME}"
        with pytest.raises(ModelNotFound):
            await engine.plan(BASE, allow_conversions=False)


async def test_variants_tell_the_same(hub: FakeHub, engine: Engine) -> None:
    converted(hub, f"unsloth/{NAME}")
    with pytest.raises(ModelNotFound) as caught:
        await engine.variants(BASE)
    assert caught.value.conversions == (f"unsloth/{NAME}",)
    offered = await engine.variants(BASE, allow_conversions=True)
    assert offered.repo == f"unsloth/{NAME}"
    assert offered.resolution is not None and "conversion by unsloth" in offered.resolution


async def test_none_has_the_quantization(hub: FakeHub, engine: Engine) -> None:
    converted(hub, f"ggml-org/{NAME}", "Q8_0")
    converted(hub, f"unsloth/{NAME}", "Q4_K_M")
    with pytest.raises(QuantizationNotFound) as caught:
        await engine.plan(BASE, "Q2_K", allow_conversions=True)
    assert f"ggml-org/{NAME}" in str(caught.value)
    assert [variant.label for variant in caught.value.available] == ["Q8_0"]


async def test_there_are_none(hub: FakeHub, engine: Engine) -> None:
    for allowed in (True, False):
        with pytest.raises(ModelNotFound) as caught:
            await engine.plan(BASE, allow_conversions=allowed)
        assert caught.value.conversions == ()


async def test_a_conversion_that_cannot_be_had_is_passed_over(hub: FakeHub, engine: Engine) -> None:
    hub.add(f"ggml-org/{NAME}", {"mmproj-F16.gguf": b"x"}, tags=(DECLARED,))
    hub.add(
        f"lmstudio-community/{NAME}",
        {f"{NAME}-Q4_K_M-00001-of-00002.gguf": b"x"},
        tags=(DECLARED,),
    )
    converted(hub, f"unsloth/{NAME}")
    assert (await engine.plan(BASE, allow_conversions=True)).repo == f"unsloth/{NAME}"


async def test_a_revision_is_of_the_repository_that_was_named(hub: FakeHub, engine: Engine) -> None:
    converted(hub, f"unsloth/{NAME}")
    with pytest.raises(ModelNotFound) as caught:
        await engine.plan(f"{BASE}@main", allow_conversions=True)
    assert caught.value.conversions == (f"unsloth/{NAME}",)


async def test_a_file_that_was_named_is_not_replaced(hub: FakeHub, engine: Engine) -> None:
    converted(hub, f"unsloth/{NAME}")
    with pytest.raises(QuantizationNotFound):
        await engine.plan(f"{BASE}/m-Q4_K_M.gguf", allow_conversions=True)


async def test_the_search_fails(hub: FakeHub, engine: Engine) -> None:
    converted(hub, f"unsloth/{NAME}")
    hub.script(Status(404), on="api", path="/api/models", times=2)
    assert await conversions(engine) == ()  # a mirror without a search
    hub.script(Reset(at=0), on="api", path="/api/models", times=None)
    assert await conversions(engine) == ()
    assert "could not be searched" in str(await failure(engine, BASE))
    with pytest.raises(HubUnavailable):
        await engine.plan(BASE, allow_conversions=True)


async def test_an_id_of_a_catalogue_may_be_a_repository_without_gguf(
    hub: FakeHub, engine: Engine
) -> None:
    hub.add("acme/tiny-1b", {"model.safetensors": b"x"})
    hub.add("x/tiny-1b-GGUF", {"m-Q8_0.gguf": b"x"}, tags=("base_model:quantized:acme/tiny-1b",))
    assert await conversions(engine, "acme/tiny-1b") == ("x/tiny-1b-GGUF",)
    hub.add("lmstudio-community/tiny-1b-GGUF", {"m-Q8_0.gguf": b"x"})
    assert (await engine.plan("acme/tiny-1b")).resolved_by is ResolvedBy.HUB_SEARCH


async def test_a_search_that_ignores_what_it_is_asked(hub: FakeHub, engine: Engine) -> None:
    hub.ignores_queries = True
    hub.add("popular/LLaMA-GGUF", {"m-Q8_0.gguf": b"x"}, downloads=10**6)
    assert await conversions(engine) == ()
    converted(hub, f"unsloth/{NAME}")
    assert await conversions(engine) == (f"unsloth/{NAME}",)


@pytest.mark.parametrize("status", [400, 403, 405, 501])
async def test_an_endpoint_that_refuses_to_search(
    hub: FakeHub, engine: Engine, status: int
) -> None:
    hub.script(Status(status), on="api", path="/api/models", times=None)
    assert await conversions(engine) == ()
    assert "no search" in str(await failure(engine, "acme/unheard-of"))


async def test_a_renamed_repository_has_the_conversions_of_its_new_name(
    hub: FakeHub, engine: Engine
) -> None:
    converted(hub, "unsloth/By-Another-Name-GGUF")
    hub.renamed = {"qwen/Qwen3-4B-instruct-2507": BASE, "old/Name": BASE}
    for typed in hub.renamed:
        assert await conversions(engine, typed) == ("unsloth/By-Another-Name-GGUF",)


async def test_what_may_be_meant_is_named(hub: FakeHub, engine: Engine) -> None:
    hub.add("acme/tiny-1b", {"model.safetensors": b"x"})
    for repo in ("Tiny-1B-GGUF", "acme_tiny-1b-gguf"):
        hub.add(f"lmstudio-community/{repo}", {"m-Q8_0.gguf": b"x"})
    assert await conversions(engine, "acme/tiny-1b") == (
        "lmstudio-community/Tiny-1B-GGUF",
        "lmstudio-community/acme_tiny-1b-gguf",
    )


async def test_the_best_that_fits_of_all_conversions(hub: FakeHub, engine: Engine) -> None:
    def large(size: int) -> PositionCoded:
        return PositionCoded(size, 1, sha256="0" * 64)

    hub.add(f"ggml-org/{NAME}", {"m-Q8_0.gguf": large(20 << 30)}, tags=(DECLARED,))
    with pytest.raises(InsufficientMemory) as caught:
        await engine.plan(BASE, "auto", allow_conversions=True)
    assert f"ggml-org/{NAME}" in str(caught.value)
    hub.add(f"unsloth/{NAME}", {"m-Q8_0.gguf": large(1 << 30)}, tags=(DECLARED,))
    plan = await engine.plan(BASE, "auto", allow_conversions=True)
    assert plan.repo == f"unsloth/{NAME}"


async def test_a_tie_in_a_conversion_says_whose_it_is(hub: FakeHub, engine: Engine) -> None:
    files = {"a-Q8_0.gguf": b"a", "b-Q8_0.gguf": b"b"}
    hub.add(f"unsloth/{NAME}", files, tags=(DECLARED,))
    with pytest.raises(AmbiguousQuantization) as caught:
        await engine.plan(BASE, "Q8_0", allow_conversions=True)
    assert f"unsloth/{NAME}" in str(caught.value)


async def test_hostile_names_in_a_search_are_passed_over(hub: FakeHub, engine: Engine) -> None:
    for name in ("..", "a b", "x;reboot", "--help", "$(x)"):
        hub.add(f"evil/{name}", {"m-Q8_0.gguf": b"x"}, tags=(DECLARED,))
    converted(hub, f"unsloth/{NAME}")
    assert await conversions(engine) == (f"unsloth/{NAME}",)
