"""A body on its way to the disk: the thread goes on while the loop lets it, and tells what came."""

from __future__ import annotations

from modelfetch import intake as module
from modelfetch.core.pieces import PIECE_SIZE
from modelfetch.intake import Intake
from modelfetch.types import Span

PIECES = 6
MOMENT = 1e-5  # seconds; a receive takes longer
CONTENT = bytes(range(251)) * (PIECES * PIECE_SIZE // 251 + 1)


class Disk:
    """Where an intake writes."""

    def __init__(self):
        self.content = bytearray(PIECES * PIECE_SIZE)

    def write(self, offset, parts):
        for part in parts:
            self.content[offset : offset + len(part)] = part


class Body:
    """A body that comes as fast as it is asked for, up to an end."""

    def __init__(self, end):
        self.position, self._end, self.waits = 0, end, []

    def receive(self, buffer, seconds, linger):
        self.waits.append(seconds)
        count = min(len(buffer), self._end - self.position, 300_000)
        buffer[:count] = CONTENT[self.position : self.position + count]
        self.position += count
        return count


def taken(monkeypatch, *, end=PIECES * PIECE_SIZE, tell, has_waits=False):
    monkeypatch.setattr(module, "LINGER_SECONDS", MOMENT)
    disk, body, whole = Disk(), Body(end), Span(0, PIECES * PIECE_SIZE)
    intake = Intake(body.receive, disk, whole)
    intake.until = 2 * PIECE_SIZE
    intake.take(1.0, [whole], lambda: tell(intake))
    assert disk.content[: intake.start] == CONTENT[: intake.start]
    assert sum(span.size for span in intake.landed) == intake.start
    return (intake, body.waits) if has_waits else intake


def test_a_moment_is_told_of_and_the_thread_goes_on_as_far_as_it_may(monkeypatch):
    told = []

    def tell(intake):
        told.append(intake.stop)
        intake.until = min(intake.until + PIECE_SIZE, 4 * PIECE_SIZE)

    intake = taken(monkeypatch, tell=tell)
    assert intake.start == intake.stop == 4 * PIECE_SIZE
    assert told == sorted(told)
    assert len(told) > 4


def test_who_is_told_to_end_does_not_receive_another_byte(monkeypatch):
    told = []

    def tell(intake):
        told.append(intake.stop)
        if intake.stop > PIECE_SIZE:
            intake.until = intake.stop

    intake = taken(monkeypatch, tell=tell)
    assert intake.start == PIECE_SIZE < intake.stop == told[-1]


def test_a_whole_moment_without_a_byte_is_the_end(monkeypatch):
    intake, waits = taken(monkeypatch, end=PIECE_SIZE + 5, tell=lambda _: None, has_waits=True)
    assert (intake.start, intake.stop) == (PIECE_SIZE, PIECE_SIZE + 5)
    assert waits == [1.0] + [MOMENT] * (len(waits) - 1)
