from __future__ import annotations

import pytest

from modelfetch.core.retry import MAX_RETRY_AFTER, Budget, RetryPolicy, retry_after

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:00 GMT"}, 0.0),
        ({"Retry-After": "999999999"}, MAX_RETRY_AFTER),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "Tue, 99 Nov 99999 99:99:99 GMT"}, None),
        ({"RateLimit": '"resolvers";r=0;t=55'}, 56.0),
        ({"RateLimit": '"resolvers";r=12;t=55'}, None),
        ({"RateLimit": '"api";r=0;t=20', "Retry-After": "3"}, 21.0),
        ({}, None),
    ],
)
def test_how_long_a_host_asks_to_wait(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after(headers, NOW) == expected


def test_delays_double_up_to_the_cap_and_are_jittered() -> None:
    policy = RetryPolicy(base_seconds=1.0, max_seconds=5.0)
    assert [policy.delay(n, 1.0) for n in (1, 2, 3, 4, 99)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert policy.delay(3, 0.0) == 0.0


def test_the_budget_counts_only_attempts_without_progress() -> None:
    budget = Budget(RetryPolicy(attempts=3))
    times = iter(range(100))

    def spend(landed: int) -> bool:
        now = float(next(times))
        return budget.spend(landed, began=now, now=now + 0.5)

    assert [spend(0), spend(0)] == [True, True]
    assert spend(10)  # bytes came, over whatever connection: all is forgiven
    assert spend(10)
    assert not spend(10)


def test_connections_that_fail_together_have_made_one_attempt() -> None:
    budget = Budget(RetryPolicy(attempts=3))
    for began in (0.0, 10.0):
        assert all(budget.spend(0, began + 0.1 * n, began + 5.0 + 0.1 * n) for n in range(16))
    assert not budget.spend(0, began=20.0, now=21.0)
