"""Which of a host's addresses comes first."""

from __future__ import annotations

from collections import Counter

from modelfetch.core.addresses import MAX_FAILED, PENALTY_SECONDS, AddressBook

FOUR, SIX = 2, 10
THREE = [(FOUR, "192.0.2.1"), (FOUR, "192.0.2.2"), (FOUR, "192.0.2.3")]


def test_each_comes_first_as_often_as_the_others() -> None:
    book = AddressBook()
    orders = [book.order(THREE, 0.0) for _ in range(6)]
    assert Counter(order[0] for order in orders) == {0: 2, 1: 2, 2: 2}
    assert all(sorted(order) == [0, 1, 2] for order in orders)


def test_what_failed_comes_last_for_a_while() -> None:
    book = AddressBook()
    book.failed("192.0.2.2", 100.0)
    for now in (100.0, 100.0 + PENALTY_SECONDS - 1):
        assert {book.order(THREE, now)[-1] for _ in range(6)} == {1}
        assert {book.order(THREE, now)[0] for _ in range(6)} == {0, 2}
    later = {book.order(THREE, 100.0 + PENALTY_SECONDS)[0] for _ in range(6)}
    assert later == {0, 1, 2}


def test_when_all_have_failed_the_one_longest_ago_is_first() -> None:
    book = AddressBook()
    for address, now in (("192.0.2.3", 1.0), ("192.0.2.1", 2.0), ("192.0.2.2", 3.0)):
        book.failed(address, now)
    assert {tuple(book.order(THREE, 4.0)) for _ in range(4)} == {(2, 0, 1)}
    book.failed("192.0.2.3", 5.0)
    assert book.order(THREE, 6.0) == [0, 1, 2]


def test_the_system_s_family_stays_first() -> None:
    book = AddressBook()
    both = [(SIX, "2001:db8::1"), (FOUR, "192.0.2.1"), (SIX, "2001:db8::2")]
    assert {tuple(book.order(both, 0.0)) for _ in range(4)} == {(0, 2, 1), (2, 0, 1)}
    book.failed("2001:db8::1", 0.0)
    book.failed("2001:db8::2", 1.0)
    assert book.order(both, 2.0) == [1, 0, 2]


def test_no_address_and_one() -> None:
    book = AddressBook()
    assert book.order([], 0.0) == []
    assert book.order(THREE[:1], 0.0) == [0]
    book.failed("192.0.2.1", 0.0)
    assert book.order(THREE[:1], 0.0) == [0]


def test_what_failed_is_not_remembered_without_bound() -> None:
    book = AddressBook()
    book.failed("192.0.2.1", 0.0)
    for number in range(MAX_FAILED - 1):
        book.failed(f"2001:db8::{number:x}", 0.1)
    book.failed("192.0.2.1", 0.2)
    for number in range(MAX_FAILED - 1):
        book.failed(f"2001:db8:1::{number:x}", 0.3)
    assert len(book._failed) == MAX_FAILED
    assert {book.order(THREE, 1.0)[-1] for _ in range(3)} == {0}
