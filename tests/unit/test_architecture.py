"""The house: imports go downwards, modules stay small, the core stays pure."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import modelfetch

SOURCE = Path(modelfetch.__file__).parent
# Lowest first. A module may import its own layer (if that is a package) and those before it.
LAYERS = [
    ["_version"],
    ["wording"],
    ["errors"],
    ["types", "status"],
    ["offers", "inventory"],
    ["core"],
    ["settings"],
    ["config"],
    ["offload", "calls", "storage", "surroundings", "addresses", "memory", "streams"],
    ["http1"],
    ["connector"],
    ["netfaults", "direct"],
    ["hubsession", "transport", "background", "chooser", "cache"],
    ["hubcall", "hubtoken"],
    ["hub", "search", "lanes", "cores"],
    ["shared"],
    ["waiting"],
    ["adopter", "gauge", "crew", "intake"],
    ["receiver"],
    ["worker"],
    ["reuse"],
    ["inspector"],
    ["fetcher"],
    ["gatherer"],
    ["carrier"],
    ["frames"],
    ["aside", "beside"],
    ["transfers"],
    ["metadata"],
    ["repositories"],
    ["planner", "broadcast", "scribe", "turns"],
    ["desk", "board"],
    ["life"],
    ["jobs"],
    ["watch"],
    ["keeper"],
    ["engine"],
    ["blocking", "repairs"],
    ["web"],
    ["__init__"],
    ["testing"],
    ["cli"],
    ["__main__"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
PURE = {"asyncio", "os", "time", "random", "secrets", "logging", "threading", "socket", "pathlib"}
LINES, BODY, PARAMETERS = 300, 50, 8


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def layer_of(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imports_of(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_downwards(path: Path) -> None:
    own = layer_of(path)
    for name in imports_of(ast.parse(path.read_text())):
        parts = name.split(".")
        if parts[0] == "modelfetch" and own != "__init__":
            other = parts[1] if len(parts) > 1 and parts[1] in RANK else "__init__"
            inside = other == own and (SOURCE / own).is_dir()
            assert inside or RANK[other] < RANK[own], f"{own} may not import {name}"
        if own == "testing":
            assert parts[:2] == ["modelfetch", "testing"] or parts[0] != "modelfetch"


@pytest.mark.parametrize("path", sorted((SOURCE / "core").glob("*.py")), ids=lambda p: p.name)
def test_the_core_is_pure(path: Path) -> None:
    used = {name.split(".")[0] for name in imports_of(ast.parse(path.read_text()))}
    assert not used & PURE
    assert used <= set(sys.stdlib_module_names) | {"modelfetch"}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_modules_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            start = node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0].lineno
            assert (node.end_lineno or start) - start < BODY, node.name
            assert len(node.args.args) <= PARAMETERS, node.name


def test_asyncio_is_in_few_modules() -> None:
    using = {
        layer_of(path)
        for path in modules()
        if "asyncio" in imports_of(ast.parse(path.read_text())) and layer_of(path) != "testing"
    }
    expected = (
        "addresses offload connector transport calls background lanes cores shared crew receiver"
    )
    expected += " worker fetcher gatherer frames aside beside metadata broadcast turns desk life"
    expected += " watch keeper engine blocking web cli"
    assert using == set(expected.split())


def test_the_public_names() -> None:
    expected = """
        AccessDenied AmbiguousQuantization Cache CachedBuild CachedModel CachedPartial Config
        DamagedFile DiskUsage Engine FileRole FileStatus Fit GatedModel HubUnavailable
        IncompleteModel InsufficientMemory InsufficientSpace IntegrityError InvalidConfiguration
        InvalidReference InvalidState InvalidToken Job JobCancelled JobNotFound JobState
        JobStatus LocalFile LocalModel ModelFetchError ModelMetadata ModelNotFound ModelVariants
        NetworkError Offline Plan PlannedFile QuantizationNotFound RateLimited Removal
        RemovedItem ResolvedBy RevisionNotFound Sidecar StorageError UnusableModel Variant
        VariantInfo Verification __version__ fetch
    """
    assert sorted(modelfetch.__all__) == sorted(expected.split())
    for name in modelfetch.__all__:
        assert getattr(modelfetch, name) is not None
    assert set(modelfetch.__all__) <= set(dir(modelfetch))
    with pytest.raises(AttributeError):
        _ = modelfetch.nothing


@pytest.mark.parametrize("name", ["Engine", "Job", "Cache"])
def test_a_host_can_read_the_types_of_what_it_calls(name: str) -> None:
    for method in vars(getattr(modelfetch, name)).values():
        if inspect.isfunction(method):
            typing.get_type_hints(method)


def test_importing_is_cheap() -> None:
    code = "import sys, modelfetch; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in out.stdout.split()}
    assert "modelfetch" in loaded
    assert not loaded & {
        "aiohttp",
        "aiofiles",
        "huggingface_hub",
        "yarl",
        "click",
        "rich",
        "asyncio",
    }


def test_help_on_the_command_line_loads_no_client() -> None:
    code = "import sys, modelfetch.cli; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in out.stdout.split()}
    assert "click" in loaded
    assert not loaded & {"aiohttp", "aiofiles", "huggingface_hub", "yarl"}
    later = {"modelfetch.cli.cache", "modelfetch.cli.jobs", "modelfetch.web.settings"}
    assert not set(out.stdout.split()) & later
