"""Here every blocking call on the event loop fails the test that made it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture(autouse=True)
def no_blocking() -> Iterator[BlockBuster]:
    with blockbuster_ctx("modelfetch") as guard:
        yield guard


# What a Hub and what is before it may say is understood in the same way by both.
BOTH_WAYS = {"test_errors", "test_mirrors", "test_network"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.rpartition(".")[2] in BOTH_WAYS:
        metafunc.parametrize("metadata", ["direct", "session"], indirect=True)
