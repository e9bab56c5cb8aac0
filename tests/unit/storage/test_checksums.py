"""With the extra `fast` and without it, the same checksums."""

import importlib
import sys
import zlib

import pytest

from modelfetch.storage import checksums

DATA = bytes(range(256)) * 4096


@pytest.fixture
def without_isal(monkeypatch):
    monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)
    yield importlib.reload(checksums)
    monkeypatch.undo()
    importlib.reload(checksums)


def test_isal_is_taken_where_it_is_installed():
    assert checksums.crc32.__module__.startswith("isal")


def test_without_it_zlib_is_taken(without_isal):
    assert without_isal.crc32 is zlib.crc32


def test_both_give_the_same_for_pieces_that_come_in_parts():
    whole = checksums.crc32(memoryview(DATA)[1:])
    assert whole == zlib.crc32(DATA[1:])
    assert checksums.crc32(DATA[1001:], checksums.crc32(DATA[1:1001])) == whole
