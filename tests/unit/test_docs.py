"""The documents say what is so: their examples run, their commands are CI's."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from modelfetch.core.catalog import BUILT_IN

ROOT = Path(__file__).parents[2]


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_testing_guide_s_example_runs(tmp_path: Path) -> None:
    scope: dict[str, Callable[[Path], None]] = {}
    exec(blocks("docs/testing.md", "python")[0], scope)
    scope["test_my_server_survives_a_reset"](tmp_path)


@pytest.mark.parametrize("code", blocks("README.md", "python"))
def test_the_readme_s_examples_are_python(code: str) -> None:
    compile(f"async def example():\n{re.sub('^', '    ', code, flags=re.MULTILINE)}", "x", "exec")


def test_the_readme_has_an_example_early_and_two_commands() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    commands = [line[2:] for line in lines if line.startswith("$ pip install")]
    assert commands == [
        "pip install -e '.[cli]' && modelfetch demo",
        "pip install -e '.[test]' && python -m pytest -n 3 --dist loadfile",
    ]
    assert lines.index("```python") < 50
    assert "README.md" in (ROOT / ".ci/run").read_text()


def test_every_fault_is_in_the_testing_guide() -> None:
    from modelfetch import testing

    guide = (ROOT / "docs/testing.md").read_text()
    missing = [
        n
        for n in testing.__all__
        if n not in guide and n not in ("Fault", "Reply", "LoggedRequest")
    ]
    assert missing == []


def test_the_table_of_ids_is_the_one_in_the_code() -> None:
    text = (ROOT / "docs/resolving.md").read_text()
    table = text.partition("| id | repository |\n|---|---|\n")[2].partition("\n\n")[0]
    assert dict(re.findall(r"^\| `(.+?)` \| `(.+?)` \|$", table, re.M)) == BUILT_IN


def test_the_embedding_guide_quotes_the_examples() -> None:
    examples = [path.read_text() for path in (ROOT / "examples").glob("*.py")]
    quoted = blocks("docs/embedding.md", "python")
    assert quoted
    for code in quoted:
        lines = [line for line in code.splitlines() if line]
        wanted = r"\n\s*".join(re.escape(line.strip()) for line in lines)
        assert any(re.search(wanted, example) for example in examples), code


def test_the_guides_name_every_example_and_every_setting() -> None:
    from dataclasses import fields

    from modelfetch.web import WebConfig
    from modelfetch.web.table import OPERATIONS, STATUSES

    embedding, http = ((ROOT / f"docs/{name}.md").read_text() for name in ("embedding", "http"))
    for path in (ROOT / "examples").glob("*.py"):
        assert f"examples/{path.name}" in embedding
    for field in fields(WebConfig):
        assert f"`{field.name}`" in embedding
    for operation in OPERATIONS:
        assert f"`{operation.method} {operation.path}" in http
    for kind, status in STATUSES.items():
        of_jobs = kind in ("network_error", "integrity_error", "unusable_model")
        row = rf"\| `{kind}` \|" if of_jobs else rf"\| [\d, ]*{status}[\d, ]* \|.*`{kind}`"
        assert re.search(row, http), kind


def test_every_test_that_the_promises_rest_on_is_there() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (ROOT / "docs/reliability.md").read_text())
    assert len(named) > 30
    for file, name in named:
        text = (ROOT / "tests" / file).read_text()
        assert re.search(rf"def {name}\(|^{name} = ", text, re.MULTILINE), f"{file}::{name}"
