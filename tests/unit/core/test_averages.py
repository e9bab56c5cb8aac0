"""The averages of `core` against those of the standard library."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.core.averages import deviation, mean, median

NUMBERS = st.lists(st.floats(0, 1e12), min_size=2, max_size=20)


@given(NUMBERS)
def test_they_are_those_of_the_standard_library(numbers: list[float]) -> None:
    assert mean(numbers) == pytest.approx(statistics.fmean(numbers))
    assert median(numbers) == pytest.approx(statistics.median(numbers))
    scale = max(numbers)
    assert deviation(numbers) == pytest.approx(statistics.stdev(numbers), abs=1e-9 * scale)


def test_one_number_is_its_mean_and_its_median() -> None:
    assert mean([3.0]) == median([3.0]) == 3.0
