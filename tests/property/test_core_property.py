"""Properties of the pure core, over inputs that nobody thought of."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from modelfetch.core.job import TRANSITIONS, JobInput
from modelfetch.core.journal import Encoder, Header, Piece, decode
from modelfetch.core.lease import Lease
from modelfetch.core.pieces import PIECE_SIZE, SpanSet
from modelfetch.core.ranges import Action, judge
from modelfetch.core.transfer import Transfer
from modelfetch.status import JobState
from modelfetch.types import Span

SIZE = 64
spans = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(lambda p: Span(*sorted(p)))


@given(st.lists(st.tuples(st.booleans(), spans), max_size=40), spans)
def test_a_span_set_is_a_set_of_offsets(steps: list[tuple[bool, Span]], window: Span) -> None:
    subject, model = SpanSet(), set[int]()
    for adding, span in steps:
        offsets = set(range(span.start, span.stop))
        if adding:
            assert subject.add(span) == len(offsets - model)
            model |= offsets
        else:
            assert subject.remove(span) == len(offsets & model)
            model -= offsets
    assert {o for span in subject for o in range(span.start, span.stop)} == model
    assert subject.size == len(model)
    assert subject.frontier == next(o for o in range(SIZE + 1) if o not in model)
    found = {o for gap in subject.gaps(window) for o in range(gap.start, gap.stop)}
    assert found == set(range(window.start, window.stop)) - model
    listed = list(subject)
    assert all(low.stop < high.start for low, high in pairwise(listed))


class _Walk:
    """A transfer with connections that do whatever the test draws."""

    def __init__(self, size: int, done: SpanSet, connections: int) -> None:
        self.transfer, self.connections = Transfer(size, done), connections
        self.live: list[Lease] = []
        self.size = size

    def check(self) -> None:
        done = self.transfer.done
        missing = sum(gap.size for gap in done.gaps(Span(0, self.size)))
        assert missing + done.size == self.size
        held = [Span(le.position, le.stop) for le in self.live if le.remaining]
        if not self.transfer.is_streaming:
            held.sort()
            assert all(a.stop <= b.start for a, b in pairwise(held))
            for span in held:
                gaps = sum(gap.size for gap in done.gaps(span))
                assert gaps == span.size, "a lease covers what is done"


@given(st.data())
def test_leases_never_overlap_and_every_walk_ends_complete(data: st.DataObject) -> None:
    size = data.draw(st.integers(0, 40 << 20))
    first = [Span(s.start << 19, s.stop << 19) for s in data.draw(st.lists(spans, max_size=4))]
    done = SpanSet(Span(min(s.start, size), min(s.stop, size)) for s in first)
    walk = _Walk(size, done, data.draw(st.integers(1, 6)))
    for _ in range(data.draw(st.integers(0, 60))):
        step = data.draw(st.sampled_from(["lease", "land", "fail", "stream", "finish"]))
        if step == "lease":
            now, speed = data.draw(st.floats(0, 100)), data.draw(st.floats(0, 1e9))
            lease = walk.transfer.lease(now, speed, walk.connections)
            if lease is not None:
                assert lease.remaining
                walk.live.append(lease)
        elif walk.live:
            lease = data.draw(st.sampled_from(walk.live))
            if step == "stream":
                walk.transfer.begin_stream(lease)
            elif step == "land" and lease.remaining:
                count = data.draw(st.integers(1, lease.remaining))
                walk.transfer.landed(lease, Span(lease.position, lease.position + count), 0.0)
            elif step == "fail" or not lease.remaining:
                walk.transfer.release(lease)
                walk.live.remove(lease)
            elif step == "finish":
                walk.transfer.landed(lease, Span(lease.position, lease.stop), 0.0)
        walk.check()
    for lease in walk.live:
        walk.transfer.release(lease)
    walk.live.clear()
    while (lease := walk.transfer.lease(0.0, among=walk.connections)) is not None:
        walk.transfer.landed(lease, Span(lease.position, lease.stop), 0.0)
        walk.transfer.release(lease)
        walk.check()
    assert walk.transfer.is_complete


pieces = st.builds(
    lambda number, start, size, crc: Piece(
        Span(number * PIECE_SIZE + start, number * PIECE_SIZE + start + size), crc
    ),
    st.integers(0, 99),
    st.integers(0, 1000),
    st.integers(1, 1000),
    st.integers(0, 2**32 - 1),
)
facts = st.lists(st.one_of(pieces, st.floats(0, 1)), max_size=20)
HEADER = Header("ab" * 32, 100 * PIECE_SIZE, "boot")


def _journal(steps: list[Piece | float]) -> tuple[bytes, list[Piece], int]:
    encoder, written, durable = Encoder(), list[Piece](), 0
    data = encoder.header(HEADER)
    for step in steps:
        if isinstance(step, Piece):
            data += encoder.piece(step)
            written.append(step)
        else:
            durable = max(durable, int(step * len(written)))
            data += encoder.flushed(durable)
    return data, written, durable


def _is_subset(data: bytes, written: list[Piece], durable: int) -> bool:
    journal = decode(data)
    if journal is None:
        return True
    now, later = journal.trusted(HEADER), journal.trusted(Header("ab" * 32, 100 << 20, "b2"))
    return list(now) == written[: len(now)] and len(later) <= durable


@given(facts)
def test_a_journal_says_what_was_written(steps: list[Piece | float]) -> None:
    data, written, durable = _journal(steps)
    journal = decode(data)
    assert journal is not None
    assert list(journal.pieces) == written
    assert journal.flushed == durable


@given(facts, st.data())
def test_any_prefix_of_a_journal_is_a_subset(
    steps: list[Piece | float], data: st.DataObject
) -> None:
    journal, written, durable = _journal(steps)
    cut = data.draw(st.integers(0, len(journal)))
    assert _is_subset(journal[:cut], written, durable)


@given(facts, st.data())
def test_any_corruption_of_a_journal_is_a_subset(
    steps: list[Piece | float], data: st.DataObject
) -> None:
    journal, written, durable = _journal(steps)
    damaged = bytearray(journal)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "zero", "repeat"]))
        if kind == "flip":
            damaged[at] ^= data.draw(st.integers(1, 255))
        elif kind == "cut":
            del damaged[at : at + data.draw(st.integers(1, 64))]
        elif kind == "insert":
            damaged[at:at] = data.draw(st.binary(min_size=1, max_size=64))
        elif kind == "zero":
            damaged[at : at + 32] = bytes(len(damaged[at : at + 32]))
        else:
            damaged[at:at] = damaged[at : at + 25]
        damaged = damaged or bytearray(b"\0")
    assert _is_subset(bytes(damaged), written, durable)


@given(st.binary(max_size=300))
def test_no_bytes_make_the_decoder_raise(data: bytes) -> None:
    decode(data)


numbers = st.integers(0, 300)
headers = st.fixed_dictionaries(
    {},
    optional={
        "Content-Range": st.one_of(
            st.builds("bytes {}-{}/{}".format, numbers, numbers, st.one_of(numbers, st.just("*"))),
            st.sampled_from(
                ["bytes */300", "bytes 0-9", "0-9/300", "items 0-9/300", "bytes \u0661-9/300"]
            ),
        ),
        "Content-Length": st.one_of(numbers.map(str), st.sampled_from(["", "x", " 10 ", "1e1"])),
        "Content-Encoding": st.sampled_from(["", "identity", "gzip", "br", "x"]),
        "Content-Type": st.sampled_from(["text/html", "application/octet-stream", "text/plain"]),
        "ETag": st.sampled_from(['"a"', '"b"', 'W/"a"', "a", ""]),
    },
)


@given(
    st.tuples(numbers, numbers).map(sorted).filter(lambda p: p[0] < p[1]),
    st.one_of(st.none(), st.sampled_from(['"a"', '"b"'])),
    st.one_of(st.sampled_from([200, 206]), st.integers(100, 599)),
    headers,
)
def test_the_gate_opens_only_for_what_was_asked(
    asked: list[int], etag: str | None, status: int, fields: dict[str, str]
) -> None:
    size = 300
    verdict = judge(Span(*asked), size, etag, status, fields)
    if verdict.action not in (Action.WRITE, Action.WHOLE):
        assert verdict.span is None
        return
    assert verdict.span is not None
    assert fields.get("Content-Encoding", "") in ("", "identity")
    assert fields.get("Content-Length", str(verdict.span.size)).strip() == str(verdict.span.size)
    assert etag is None or fields.get("ETag", etag) in (etag, 'W/"a"', "a", "")
    if verdict.action is Action.WHOLE:
        assert (status, verdict.span) == (200, Span(0, size))
        assert fields.get("Content-Type") != "text/html"
    else:
        assert status == 206
        first, stop = verdict.span.start, verdict.span.stop
        assert (first, stop <= asked[1]) == (asked[0], True)
        assert fields["Content-Range"].strip().lower() == f"bytes {first}-{stop - 1}/{size}"


@given(st.data())
def test_every_path_through_the_job_table_ends_in_one_terminal_state(data: st.DataObject) -> None:
    state, terminals = JobState.DOWNLOADING, 0
    for _ in range(60):
        # A retry begins anew, with an end of its own.
        ways = [event for event in JobInput if (state, event) in TRANSITIONS]
        ways = [event for event in ways if event is not JobInput.RETRY]
        if not ways:
            break
        state = TRANSITIONS[state, data.draw(st.sampled_from(ways))]
        terminals += state.is_terminal
    if not state.is_terminal:
        # However long it went to and fro, one input ends it.
        state = TRANSITIONS[state, JobInput.CANCEL]
        terminals += 1
    assert terminals == 1
