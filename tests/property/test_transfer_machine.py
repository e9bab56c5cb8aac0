"""A model of everything between the gate and the disk, driven by hypothesis in any order.

The machine is the shell around the pure core (`worker`, `fetcher` and `storage.partial` without
sockets, tasks and files): it leases, asks, lets `judge` decide, writes, keeps a journal, flushes,
dies and comes back. Servers answer as they like, connections end as they like, a power cut takes
any of what was not flushed, and another process may do the same beside it. What DESIGN promises
holds after every step, and at the end everything that can still become right does.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modelfetch.core.journal import Encoder, Header, Piece, decode
from modelfetch.core.lease import Lease
from modelfetch.core.pieces import PIECE_SIZE, SpanSet, piece_end
from modelfetch.core.ranges import Action, judge, range_headers
from modelfetch.core.retry import MAX_RETRY_AFTER, Budget, RetryPolicy, retry_after
from modelfetch.core.transfer import Transfer
from modelfetch.types import Span

# Some thousand steps in one test take more than a minute on a busy machine.
pytestmark = pytest.mark.timeout(300)

SIZE = 5 * PIECE_SIZE + 4321
BLOB = "ab" * 32
ETAG = '"v1"'


@dataclass(frozen=True)
class Response:
    """What a server sends: its fields, and what the body truly is.

    Attributes:
        begins: Offset in the file of the body's first byte.
        length: Bytes of the body.
        is_right: Whether they are the published file's.
        is_honest: Whether the fields tell the truth about all that.
    """

    status: int
    headers: dict[str, str]
    begins: int = 0
    length: int = 0
    is_right: bool = True
    is_honest: bool = True


def partial(start: int, stop: int, total: object = SIZE, **fields: str) -> Response:
    headers = {"Content-Range": f"bytes {start}-{stop - 1}/{total}", "ETag": ETAG, **fields}
    return Response(206, headers, start, stop - start)


def other(response: Response) -> Response:
    """The same fields over bytes that are not the published ones, which they tell."""
    return replace(response, is_right=False)


def lying(asked: Span, begins: int, length: int, *, is_right: bool = True) -> Response:
    """Fields as they should be, over another body."""
    told = partial(asked.start, asked.stop)
    return Response(206, told.headers, begins, length, is_right, is_honest=False)


ANSWERS: dict[str, Callable[[Span, int], Response]] = {
    "serve": lambda a, n: partial(a.start, a.stop),
    "short and says so": lambda a, n: partial(a.start, a.start + 1 + n % a.size),
    "short body": lambda a, n: lying(a, a.start, n % a.size),
    "200": lambda a, n: Response(200, {"ETag": ETAG, "Content-Length": str(SIZE)}, 0, SIZE),
    "200 chunked": lambda a, n: Response(200, {"ETag": ETAG}, 0, SIZE),
    "200 of another size": lambda a, n: Response(200, {"Content-Length": "5"}, 0, 5, False),
    "a page": lambda a, n: Response(200, {"Content-Type": "text/html"}, 0, 99, False),
    "shifted": lambda a, n: partial(a.start + 1 + n % 9999, a.stop + 1 + n % 9999),
    "shifted back": lambda a, n: partial(max(0, a.start - 1), max(1, a.stop - 1)),
    "longer": lambda a, n: partial(a.start, a.stop + 1),
    "another total": lambda a, n: other(partial(a.start, a.stop, SIZE + 1)),
    "no total": lambda a, n: partial(a.start, a.stop, "*"),
    "encoded": lambda a, n: other(partial(a.start, a.stop, **{"Content-Encoding": "gzip"})),
    "changed validator": lambda a, n: other(partial(a.start, a.stop, ETag='"v2"')),
    "weak validator": lambda a, n: partial(a.start, a.stop, ETag='W/"v2"'),
    "wrong bytes": lambda a, n: lying(a, a.start, a.size, is_right=False),
    "403": lambda a, n: Response(403, {}),
    "416": lambda a, n: Response(416, {"Content-Range": f"bytes */{SIZE}"}),
    "429": lambda a, n: Response(429, {"Retry-After": str(n)}),
    "503": lambda a, n: Response(503, {}),
}


class Disk:
    """A partial and its journal, with what of them would survive a power cut.

    Attributes:
        writes: What was written, in order, and whether it is right.
        safe_writes: How many of those are flushed, from the first on.
        known: What the flushed part of the journal says to be flushed.
        there: What is in the partial.
        wrong: What of that is wrong.
    """

    def __init__(self, writes: Iterable[tuple[Span, bool]] = ()) -> None:
        self.writes: list[tuple[Span, bool]] = []
        self.there, self.wrong, self.known = SpanSet(), SpanSet(), SpanSet()
        for span, is_right in writes:
            self.write(span, is_right)
        self.safe_writes = len(self.writes)
        self.journal = b""
        self.safe_journal = 0

    def write(self, span: Span, is_right: bool) -> None:
        self.writes.append((span, is_right))
        self.there.add(span)
        (self.wrong.remove if is_right else self.wrong.add)(span)

    def after_power_cut(self, kept: list[bool], journal: bytes) -> Disk:
        loose = self.writes[self.safe_writes :]
        lucky = [one for one, is_kept in zip(loose, kept, strict=True) if is_kept]
        after = Disk([*self.writes[: self.safe_writes], *lucky])
        after.known = self.known
        after.journal, after.safe_journal = journal, len(journal)
        return after


@dataclass
class Connection:
    """A request under way."""

    lease: Lease
    response: Response
    span: Span
    at: int
    writing: list[Span] | None = None


class Process:
    """One process that fetches the file: the shell of the core, in one thread."""

    def __init__(self, disk: Disk, boot: str, connections: int) -> None:
        self.disk, self.boot, self.connections = disk, boot, connections
        self.header = Header(BLOB, SIZE, boot)
        self.encoder = Encoder()
        self.etag: str | None = None
        self.open: dict[int, Connection] = {}
        self.budget = Budget(RetryPolicy(attempts=3))
        self.budget_at = self.failures = 0
        self.repairs = 0
        self.failed = False
        durable, written = self.recovered()
        done = SpanSet(piece.span for piece in (*durable, *written))
        self.transfer = Transfer(SIZE, done)
        # Written anew in a draft, flushed, renamed: one step as far as a crash can tell.
        self.disk.journal = self.encoder.whole(self.header, durable, written)
        self.disk.safe_journal = len(self.disk.journal)
        self.mine = done.copy()
        self.recorded = [piece.span for piece in (*durable, *written)]
        self.first_write = len(disk.writes)

    def recovered(self) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
        journal = decode(self.disk.journal)
        if journal is None:
            return (), ()
        trusted = journal.trusted(self.header)
        flushed = min(journal.flushed, len(trusted))
        return trusted[:flushed], trusted[flushed:]

    def ask(self, number: int, answer: str, chance: int, now: float, speed: float) -> None:
        lease = self.transfer.lease(now, speed, self.connections)
        if lease is None:
            return
        asked = Span(lease.position, lease.stop)
        assert range_headers(asked)["Range"] == f"bytes={asked.start}-{asked.stop - 1}"
        response = ANSWERS[answer](asked, chance)
        verdict = judge(asked, SIZE, self.etag, response.status, response.headers)
        if verdict.span is None:
            self.refused(verdict.action, response)
            self.transfer.release(lease)
            self.spend()
            return
        if response.is_honest:
            is_first = self.etag is None and answer == "changed validator"
            assert response.is_right or is_first, f"the gate let {answer} pass"
            assert response.begins == verdict.span.start, f"{answer} would land elsewhere"
        if verdict.action is Action.WHOLE and not self.transfer.begin_stream(lease):
            self.transfer.release(lease)
            return
        self.etag = self.etag or verdict.etag
        self.open[number] = Connection(lease, response, verdict.span, verdict.span.start)

    def refused(self, action: Action, response: Response) -> None:
        if action is Action.RESIGN:
            self.etag = None
        if action is Action.WAIT:
            wait = retry_after(response.headers, 0.0)
            assert wait is None or 0.0 <= wait <= MAX_RETRY_AFTER

    def receive(self, number: int, count: int, now: float) -> None:
        one = self.open[number]
        lease = one.lease
        if one.writing is not None:
            return
        end = min(one.span.stop, lease.stop, one.span.start + one.response.length)
        stop = min(end, one.at + count)
        while one.at < stop:
            upto = piece_end(one.at, stop)
            self.store(one, Span(one.at, upto), now)
            one.at = upto
        if one.at >= min(one.span.stop, lease.stop):
            self.close(number)
        elif one.at >= end:  # the body is at its end, and should not be
            self.drop(number)

    def store(self, one: Connection, span: Span, now: float) -> None:
        for gap in self.transfer.reserve(span):
            self.write(one, gap, now)
        one.lease.position = max(one.lease.position, span.stop)

    def begin_write(self, number: int) -> None:
        """Hand the next piece to a disk that takes its time."""
        one = self.open[number]
        stop = min(one.span.stop, one.lease.stop, one.span.start + one.response.length)
        if one.writing is None and one.at < stop:
            span = Span(one.at, piece_end(one.at, stop))
            one.writing = self.transfer.reserve(span)
            one.at = span.stop
            one.lease.arrived(one.at, one.lease.since)

    def end_write(self, number: int, now: float, *, is_written: bool) -> None:
        one = self.open[number]
        if one.writing is None:
            return
        gaps, one.writing = one.writing, None
        if is_written:
            for gap in gaps:
                self.write(one, gap, now)
            one.lease.position = max(one.lease.position, one.at)
        else:
            self.transfer.unreserve(gaps)
        if one.lease.is_dropped or not is_written:
            self.close(number)

    def write(self, one: Connection, gap: Span, now: float) -> None:
        begins = one.response.begins + gap.start - one.span.start
        is_right = one.response.is_right and begins == gap.start
        assert not self.mine.covers(gap), "bytes that may be hashed are not written again"
        assert all(g == gap for g in self.mine.gaps(gap))
        self.mine.add(gap)
        self.disk.write(gap, is_right)
        self.recorded.append(gap)
        crc32 = zlib.crc32(f"{gap} {is_right}".encode())
        self.disk.journal += self.encoder.piece(Piece(gap, crc32))
        self.transfer.landed(one.lease, gap, now)

    def close(self, number: int) -> None:
        self.end_write(number, 0.0, is_written=True)
        if number not in self.open:
            return
        self.transfer.release(self.open.pop(number).lease)

    def drop(self, number: int) -> None:
        self.close(number)
        self.spend()

    def spend(self) -> None:
        came = self.transfer.received > self.budget_at
        self.budget_at = self.transfer.received
        self.failures += 1
        at = float(self.failures)
        goes_on = self.budget.spend(self.transfer.received, at, at)
        assert goes_on or not came, "who makes progress is never given up"
        self.failed = self.failed or not goes_on

    def flush(self, upto: int) -> None:
        """Flush; `upto` writes were done when it began, and it is those that it answers for."""
        count = len(self.recorded) - (len(self.disk.writes) - upto)
        for span in self.recorded[:count]:
            self.disk.known.add(span)
        self.disk.safe_writes = max(self.disk.safe_writes, upto)
        self.disk.journal += self.encoder.flushed(count)
        self.disk.safe_journal = len(self.disk.journal)

    def finish(self) -> bool:
        """Hash; repair or publish. Return whether the final name is there."""
        if not self.disk.wrong.size:
            assert self.disk.there.covers(Span(0, SIZE)), "a final name means the right bytes"
            return True
        self.repairs += 1
        if self.repairs > 1:
            self.failed = True
            return False
        for number in list(self.open):
            self.close(number)
        lost = [Span(0, SIZE)]
        self.transfer.lose(lost)
        self.mine, self.recorded, self.first_write = SpanSet(), [], len(self.disk.writes)
        self.disk.known = SpanSet()
        self.encoder = Encoder()
        self.disk.journal = self.encoder.whole(self.header, (), ())
        self.disk.safe_journal = len(self.disk.journal)
        return False


LIES = frozenset({"wrong bytes", "short body"})
answers = st.one_of(st.just("serve"), st.sampled_from(sorted(ANSWERS)))
chances = st.integers(0, 3 << 20)
counts = st.one_of(st.integers(0, 2 * PIECE_SIZE), st.just(SIZE))
speeds = st.sampled_from([0.0, 1e4, 1e6, 1e9])
pauses = st.sampled_from([0.0, 0.5, 30.0])


class Downloads(RuleBasedStateMachine):
    """All that may happen to a file on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.boot = 0
        self.processes: list[Process] = []
        self.lied = False

    def process(self, which: int) -> Process:
        return self.processes[which % len(self.processes)]

    @initialize(connections=st.integers(1, 4))
    def begin(self, connections: int) -> None:
        self.processes = [Process(Disk(), "boot 0", connections)]

    @rule(which=st.integers(0, 1), answer=answers, chance=chances, speed=speeds, seconds=pauses)
    def ask(self, which: int, answer: str, chance: int, speed: float, seconds: float) -> None:
        process = self.process(which)
        self.now += seconds
        free = [n for n in range(process.connections) if n not in process.open]
        if free and not process.failed:
            is_taken_for_the_first = answer == "changed validator" and process.etag is None
            self.lied = self.lied or answer in LIES or is_taken_for_the_first
            process.ask(free[0], answer, chance, self.now, speed)

    @rule(which=st.integers(0, 1), answer=answers, chance=chances, count=counts)
    def ask_and_receive(self, which: int, answer: str, chance: int, count: int) -> None:
        process = self.process(which)
        before = set(process.open)
        self.ask(which, answer, chance, 1e6, 0.1)
        for number in set(process.open) - before:
            process.receive(number, count, self.now)
        self.finish(which)

    @rule(which=st.integers(0, 1), pick=st.integers(0, 3), count=counts, seconds=pauses)
    def receive(self, which: int, pick: int, count: int, seconds: float) -> None:
        process = self.process(which)
        self.now += seconds
        if process.open:
            process.receive(sorted(process.open)[pick % len(process.open)], count, self.now)
        self.finish(which)

    @rule(which=st.integers(0, 1), pick=st.integers(0, 3))
    def reset_or_stall(self, which: int, pick: int) -> None:
        process = self.process(which)
        if process.open:
            process.drop(sorted(process.open)[pick % len(process.open)])

    @rule(which=st.integers(0, 1), seconds=pauses)
    def the_slow_are_dropped(self, which: int, seconds: float) -> None:
        process = self.process(which)
        self.now += seconds
        process.transfer.drop_slow(self.now)
        for number, one in list(process.open.items()):
            if one.lease.is_dropped and one.writing is None:
                process.close(number)

    @rule(which=st.integers(0, 1), pick=st.integers(0, 3), seconds=pauses)
    def a_write_begins(self, which: int, pick: int, seconds: float) -> None:
        process = self.process(which)
        self.now += seconds
        if process.open:
            process.begin_write(sorted(process.open)[pick % len(process.open)])

    @rule(which=st.integers(0, 1), pick=st.integers(0, 3), is_written=st.booleans())
    def a_write_ends(self, which: int, pick: int, is_written: bool) -> None:
        process = self.process(which)
        if process.open:
            number = sorted(process.open)[pick % len(process.open)]
            process.end_write(number, self.now, is_written=is_written)
        self.finish(which)

    @rule(which=st.integers(0, 1), late=st.integers(0, 3))
    def flush(self, which: int, late: int) -> None:
        process = self.process(which)
        disk = process.disk
        # One flush after the other: what one answered for, the next does too.
        process.flush(max(len(disk.writes) - late, process.first_write, disk.safe_writes))

    def finish(self, which: int) -> None:
        process = self.process(which)
        if process.failed:  # and somebody asks again; what failed its hash twice was put aside
            disk = Disk() if process.repairs > 1 else process.disk
            self.replace(process, Process(disk, process.boot, process.connections))
        elif process.transfer.is_complete:
            is_published = process.finish()
            assert is_published or self.lied, "only a lie makes a wrong hash"
            if is_published:
                self.replace(process, Process(Disk(), process.boot, process.connections))

    def replace(self, old: Process, new: Process) -> None:
        new.repairs = old.repairs if new.disk is old.disk else 0
        self.processes[self.processes.index(old)] = new

    @rule(which=st.integers(0, 1), politely=st.booleans())
    def kill_or_cancel(self, which: int, politely: bool) -> None:
        old = self.process(which)
        for number in list(old.open) if politely else []:
            old.close(number)
        had = old.transfer.done
        self.replace(old, Process(old.disk, old.boot, old.connections))
        assert self.process(which).transfer.done == had, "every record was true"

    @rule(data=st.data())
    def power_cut(self, data: st.DataObject) -> None:
        self.boot += 1
        for old in list(self.processes):
            disk = old.disk
            loose = len(disk.writes) - disk.safe_writes
            kept = data.draw(st.lists(st.booleans(), min_size=loose, max_size=loose))
            tail = data.draw(st.integers(disk.safe_journal, len(disk.journal)))
            noise = data.draw(st.binary(max_size=30))
            after = disk.after_power_cut(kept, disk.journal[:tail] + noise)
            new = Process(after, f"boot {self.boot}", old.connections)
            for span in new.transfer.done:
                assert after.there.covers(span), "no byte is trusted that is not there"
            for span in disk.known:
                assert new.transfer.done.covers(span), "what was flushed is never lost"
            self.replace(old, new)
            new.repairs = old.repairs

    @precondition(lambda self: len(self.processes) == 1)
    @rule(connections=st.integers(1, 4))
    def second_process(self, connections: int) -> None:
        # Where locks exclude nobody, with a partial of its own: nothing is shared but the result.
        self.processes.append(Process(Disk(), f"boot {self.boot}", connections))

    @invariant()
    def leases_are_apart_and_never_of_what_is_done(self) -> None:
        for process in self.processes:
            transfer = process.transfer
            held = [Span(le.position, le.stop) for le in transfer.active if le.remaining]
            if transfer.is_streaming:
                assert len(held) <= 1, "all others end for the stream"
            else:
                assert all(a.stop <= b.start for a, b in pairwise(sorted(held)))
                for span in held:
                    assert list(transfer.done.gaps(span)) == [span]

    @invariant()
    def the_journal_says_what_is_done(self) -> None:
        for process in self.processes:
            journal = decode(process.disk.journal)
            assert journal is not None
            named = SpanSet(piece.span for piece in journal.trusted(process.header))
            assert named == process.transfer.done
            for span in named:
                assert process.disk.there.covers(span)

    @invariant()
    def what_is_done_is_right_unless_somebody_lied(self) -> None:
        for process in self.processes:
            assert self.lied or not process.disk.wrong.size

    def teardown(self) -> None:
        # From any state, a server that behaves leads to the file, in as few requests as there are
        # gaps and leases.
        for process in self.processes:
            if process.failed:
                continue
            for number in list(process.open):
                process.close(number)
            for _ in range(2):
                for _ in range(60):
                    if process.transfer.is_complete:
                        break
                    process.ask(0, "serve", 0, self.now, 0.0)
                    if process.open:
                        process.receive(0, SIZE, self.now)
                assert process.transfer.is_complete
                if process.finish() or process.failed:
                    break
            else:
                raise AssertionError("one repair is enough when nobody lies")


TestDownloads = Downloads.TestCase
TestDownloads.settings = settings(max_examples=200, stateful_step_count=60)
