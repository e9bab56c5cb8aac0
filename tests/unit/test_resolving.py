"""The table of `docs/resolving.md` is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.listings import LISTINGS

from modelfetch.core.auto import choose_fitting
from modelfetch.core.quants import Choice, choose
from modelfetch.core.select import DEFAULTS
from modelfetch.core.sizes import parse_size
from modelfetch.errors import (
    AmbiguousQuantization,
    IncompleteModel,
    InsufficientMemory,
    QuantizationNotFound,
)
from modelfetch.types import FileRole

DOCUMENT = (Path(__file__).parents[2] / "docs/resolving.md").read_text()
ROW = re.compile(r"^\| `([^`]+/[^`]+)` \| (.*?) \| (.*) \|$", re.MULTILINE)
ROWS = ROW.findall(DOCUMENT[DOCUMENT.index("## The table") :])
AUTO = re.compile(r"`auto`, (\S+)")


def choice_of(repo: str, request: str) -> Choice:
    if auto := AUTO.fullmatch(request):
        return choose_fitting(LISTINGS[repo], parse_size(auto[1]))
    return choose(LISTINGS[repo], None if request == "*nothing*" else request.strip("`"))


def result(repo: str, request: str) -> str:
    """Return what a request gets, as the document's last column has it."""
    try:
        choice = choice_of(repo, request)
    except QuantizationNotFound as error:
        return f"`QuantizationNotFound`, nearest `{error.available[0].label}`"
    except AmbiguousQuantization as error:
        candidates = ", ".join(f"`{candidate.label}`" for candidate in error.candidates)
        return f"`AmbiguousQuantization`: {candidates}"
    except IncompleteModel as error:
        return f"`IncompleteModel`: {len(error.missing)} missing"
    except InsufficientMemory:
        return "`InsufficientMemory`"
    model = [file.path for file in choice.files if file.role is not FileRole.MMPROJ]
    text = f"`{model[0]}`" + (f" and {len(model) - 1} more" if len(model) > 1 else "")
    if choice.joined_path is not None:
        text += f", joined to `{choice.joined_path}`"
    return text + "".join(f" + `{f.path}`" for f in choice.files if f.role is FileRole.MMPROJ)


@pytest.mark.parametrize(("repo", "request_", "expected"), ROWS)
def test_row(repo: str, request_: str, expected: str) -> None:
    assert result(repo, request_) == expected


def test_every_row_is_run_and_every_kind_of_answer_is_shown() -> None:
    table = DOCUMENT[DOCUMENT.index("## The table") :].split("\n\n")[2]
    assert len(ROWS) == table.strip().count("\n") - 1 >= 25
    shown = " ".join(expected for _, _, expected in ROWS)
    for part in ("NotFound", "Ambiguous", "Incomplete", "Insufficient", "joined", "more", "mmproj"):
        assert part in shown


def test_the_order_of_the_defaults_is_the_documented_one() -> None:
    order = ", ".join(f"`{label}`" for label in DEFAULTS)
    assert f"The first of {order} that" in re.sub(r"\s+", " ", DOCUMENT)
