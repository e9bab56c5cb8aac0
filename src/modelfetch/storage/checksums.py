"""CRC-32 of pieces, with Intel's ISA-L where the extra `fast` is installed.

The polynomial is zlib's either way, so a journal that one of them wrote is the other's too. ISA-L
is several times as fast (`benchmarks.parts` says what that is worth); wheels of it are not there
for each platform, which is why it is an extra.
"""

from __future__ import annotations

try:
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

__all__ = ["crc32"]
