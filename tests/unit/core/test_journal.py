from __future__ import annotations

import zlib

import pytest

from modelfetch.core.journal import Encoder, Header, Piece, compact, decode
from modelfetch.core.pieces import PIECE_SIZE
from modelfetch.types import Span

HEADER = Header("ab" * 32, 4 * PIECE_SIZE, "boot-1")
OTHER_BOOT = Header("ab" * 32, 4 * PIECE_SIZE, "boot-2")


def piece(number: int, size: int = PIECE_SIZE) -> Piece:
    start = number * PIECE_SIZE
    return Piece(Span(start, start + size), zlib.crc32(b"%d" % number))


def a_journal() -> bytes:
    encoder = Encoder()
    data = encoder.header(HEADER)
    data += encoder.piece(piece(0)) + encoder.piece(piece(1))
    data += encoder.flushed(1)
    return data + encoder.piece(piece(3, 5))


def test_what_goes_in_comes_out() -> None:
    journal = decode(a_journal())
    assert journal is not None
    assert journal.header == HEADER
    assert journal.pieces == (piece(0), piece(1), piece(3, 5))
    assert journal.flushed == 1


def test_it_is_closed_only_when_that_is_its_last_word() -> None:
    encoder = Encoder()
    data = encoder.whole(HEADER, [piece(0)], [])
    closed = data + encoder.closed()
    more = closed + encoder.piece(piece(1))
    seen = [decode(each) for each in (data, closed, closed + b"x", more, more[:-1])]
    assert [journal is not None and journal.is_closed for journal in seen] == [
        False,
        True,
        False,
        False,
        False,
    ]
    assert all(journal is not None and journal.flushed == 1 for journal in seen)


def test_the_writer_is_a_name_or_nothing() -> None:
    for writer in ("7@pid:[1]", None):
        header = Header("ab" * 32, 5, None, writer)
        journal = decode(Encoder().header(header))
        assert journal is not None
        assert journal.header == header
    assert decode(Encoder().header(Header("ab" * 32, 5, None, 7))) is None  # type: ignore[arg-type]


def test_in_the_same_boot_everything_written_counts() -> None:
    journal = decode(a_journal())
    assert journal is not None
    assert journal.trusted(HEADER) == journal.pieces


def test_in_another_boot_only_what_was_flushed_counts() -> None:
    journal = decode(a_journal())
    assert journal is not None
    assert journal.trusted(OTHER_BOOT) == (piece(0),)


def test_without_a_boot_id_only_what_was_flushed_counts() -> None:
    journal = decode(Encoder().whole(Header("ab", 9, None), [], [Piece(Span(0, 9), 0)]))
    assert journal is not None
    assert journal.trusted(Header("ab", 9, None)) == ()


@pytest.mark.parametrize(
    "wanted", [Header("cd" * 32, HEADER.size_bytes, "boot-1"), Header("ab" * 32, 5, "boot-1")]
)
def test_a_journal_of_another_file_is_worth_nothing(wanted: Header) -> None:
    journal = decode(a_journal())
    assert journal is not None
    assert journal.trusted(wanted) == ()


def test_records_of_another_journal_do_not_continue_this_one() -> None:
    foreign = Encoder()
    foreign.header(Header("cd" * 32, HEADER.size_bytes, "boot-1"))
    journal = decode(a_journal() + foreign.piece(piece(2)))
    assert journal is not None
    assert piece(2) not in journal.pieces


def test_a_whole_journal_keeps_what_was_durable() -> None:
    data = Encoder().whole(HEADER, [piece(0)], [piece(2)])
    journal = decode(data)
    assert journal is not None
    assert (journal.pieces, journal.flushed) == ((piece(0), piece(2)), 1)


@pytest.mark.parametrize("bad", [piece(0, PIECE_SIZE + 1), piece(4), piece(0, 0)])
def test_a_piece_that_cannot_be_ends_the_reading(bad: Piece) -> None:
    encoder = Encoder()
    data = encoder.header(HEADER) + encoder.piece(bad) + encoder.piece(piece(0))
    journal = decode(data)
    assert journal is not None
    assert journal.pieces == ()


def test_a_flush_of_more_than_was_written_ends_the_reading() -> None:
    encoder = Encoder()
    data = encoder.header(HEADER) + encoder.flushed(1) + encoder.piece(piece(0))
    journal = decode(data)
    assert journal is not None
    assert (journal.pieces, journal.flushed) == ((), 0)


@pytest.mark.parametrize("data", [b"", b"modelfetch journal 1\n", b"\0" * 200, b"{}" * 99])
def test_no_header_no_journal(data: bytes) -> None:
    assert decode(data) is None


def test_in_doubt_is_what_the_right_blob_names_and_nobody_proves() -> None:
    journal = decode(a_journal())
    assert journal is not None
    assert journal.doubtful(OTHER_BOOT) == (piece(1), piece(3, 5))
    assert journal.doubtful(HEADER) == ()
    assert journal.doubtful(Header("cd" * 32, HEADER.size_bytes, None)) == ()


def test_pieces_that_later_ones_cover_are_left_out() -> None:
    begun, more, whole = (Piece(Span(0, stop), stop) for stop in (10, 20, 30))
    other, again = Piece(Span(40, 50), 1), Piece(Span(40, 50), 2)
    assert compact([begun, other, more, whole, again]) == [whole, again]
    assert compact([whole, more]) == [whole, more], "the later one tells what is there"
    assert compact([]) == []
