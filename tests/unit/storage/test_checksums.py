"""With the extra `fast` and without it, the same checksums."""

import ctypes
import importlib
import mmap
import platform
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
    assert checksums.IS_FAST
    assert checksums._crc32.__module__.startswith("isal")


def test_without_it_zlib_is_taken(without_isal):
    assert not without_isal.IS_FAST
    assert without_isal._crc32 is zlib.crc32
    assert without_isal.crc32(DATA) == zlib.crc32(DATA)


def tells_its_registers():
    about = Path("/proc/cpuinfo")
    return platform.machine() == "x86_64" and about.exists() and "xgetbv1" in about.read_text()


XGETBV = bytes.fromhex("b901000000 0f01d0 c3")  # mov ecx, 1; xgetbv; ret
UPPER_PARTS = 1 << 2 | 1 << 6  # of YMM and ZMM 0 to 15: Intel's manual, volume 1, section 13.1


@pytest.mark.skipif(not tells_its_registers(), reason="a processor or system that does not tell")
def test_sha_256_is_not_slower_in_its_thread_afterwards():
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(XGETBV)
    in_use = ctypes.CFUNCTYPE(ctypes.c_uint32)(ctypes.addressof(ctypes.c_char.from_buffer(code)))

    def after_a_checksum():
        checksums.crc32(DATA)
        return in_use()

    with ThreadPoolExecutor(1) as thread:
        assert not thread.submit(after_a_checksum).result() & UPPER_PARTS


def test_both_give_the_same_for_pieces_that_come_in_parts():
    whole = checksums.crc32(memoryview(DATA)[1:])
    assert whole == zlib.crc32(DATA[1:])
    assert checksums.crc32(DATA[1001:], checksums.crc32(DATA[1:1001])) == whole
