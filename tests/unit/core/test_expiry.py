from __future__ import annotations

from datetime import UTC, datetime

import pytest

from modelfetch.core.expiry import lifetime, signers_clock

BASE = "https://cdn.example/file?"
SIGNED = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "query",
    [
        "X-Amz-Date=20260203T040506Z&X-Amz-Expires=3600&X-Amz-Signature=ab",
        "x-amz-expires=3600&x-amz-date=20260203T040506Z",
        "X-Goog-Date=20260203T040506Z&X-Goog-Expires=3600",
        f"Expires={int(SIGNED) + 3600}&Policy=x&Signature=y&Key-Pair-Id=z",
    ],
)
def test_it_is_read_from_each_form(query: str) -> None:
    assert lifetime(BASE + query, SIGNED) == 3600
    assert lifetime(BASE + query, SIGNED + 3599) == 1


@pytest.mark.parametrize(
    "query",
    [
        "",
        "Expires=soon",
        "Expires=",
        "Expires=-5",
        "Expires=١٢٣",
        f"Expires={'9' * 40}",
        "X-Amz-Expires=3600",
        "X-Amz-Expires=3600&X-Amz-Date=yesterday",
        "X-Amz-Expires=3600&X-Amz-Date=20269999T999999Z",
        "X-Amz-Date=20260203T040506Z",
    ],
)
def test_what_says_nothing_usable_says_nothing(query: str) -> None:
    assert lifetime(BASE + query, SIGNED) is None


def test_a_url_that_is_expired_at_birth_tells_of_a_wrong_clock() -> None:
    assert lifetime(f"{BASE}Expires={int(SIGNED)}", SIGNED) is None


def test_the_clock_of_the_signer_counts() -> None:
    assert signers_clock({"Date": "Tue, 03 Feb 2026 04:05:06 GMT"}, 0.0) == SIGNED
    for nonsense in ("", "now", "Tue, 99 Feb 2026 04:05:06 GMT", "Tue, 03 Feb 99999 04:05:06 GMT"):
        assert signers_clock({"Date": nonsense}, 7.0) == 7.0
