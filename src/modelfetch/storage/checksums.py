"""CRC-32 of pieces, with Intel's ISA-L where the extra `fast` is installed.

The polynomial is zlib's either way, so a journal that one of them wrote is the other's too. ISA-L
is several times as fast (`benchmarks.parts` says what that is worth); wheels of it are not there
for each platform, which is why it is an extra.

On processors with AVX-512 it leaves the upper parts of the vector registers in use (1.9.1 has no
`vzeroupper` at its end), and that stays with the thread: its SHA-256, whose instructions are of the
older kind, is then a third slower for as long as it lives (`benchmarks.parts`). OpenSSL's SHA-512
clears them, so one of nothing follows; it takes half a microsecond.
"""

from __future__ import annotations

from hashlib import sha512

try:
    from isal.isal_zlib import crc32 as _crc32
except ImportError:
    from zlib import crc32 as _crc32

    IS_FAST = False
else:
    IS_FAST = True

__all__ = ["IS_FAST", "crc32"]


def crc32(data: bytes | memoryview, value: int = 0) -> int:
    """Return the CRC-32 of what had `value`, followed by `data`, as `zlib.crc32` does."""
    check = _crc32(data, value)
    if IS_FAST:
        clear_registers()
    return check


def clear_registers() -> None:
    """Have the vector registers of this thread cleared."""
    sha512().digest()
