# ruff: noqa: RUF001 - look-alikes are the point
from __future__ import annotations

import pytest

from modelfetch.core.paths import is_safe_path, parts_of


@pytest.mark.parametrize(
    "path",
    [
        "a.gguf",
        "UD-Q4_K_XL/m-00001-of-00002.gguf",
        "ü/模型.gguf",
        ".gitattributes",
        "a b/c",
        "模型（测试）：.gguf",
        "console/nulls.gguf",
    ],
)
def test_real_names_are_safe(path: str) -> None:
    assert is_safe_path(path)
    assert "/".join(parts_of(path)) == path


@pytest.mark.parametrize(
    "path",
    [
        "", ".", "..", "../x", "a/../b", "a/./b", "/etc/passwd", "a//b", "a/", "c:/x", "C:x",
        "\\\\host\\share", "a\\b", "a\0b", "a\nb", "a\x1b[31m", "nul", "a/CON.gguf", "a./b", "a ",
        "com¹.txt", "LPT³", "CONIN$", "nul .gguf", "a/aux", "．．/x", "‥/x", "a／b", "a＼b",
        "ｎｕｌ",         "a∕b" * 400, "a\u200bb", "a\u200d.gguf", "\u2028", "\x7f", "\ufeffa",
        "a:b", "x" * 256, "/".join(["x" * 200] * 9), "\ud800", "a\u202eb",
    ],
)  # fmt: skip
def test_hostile_names_are_not(path: str) -> None:
    assert not is_safe_path(path)
    with pytest.raises(ValueError, match="not a safe path"):
        parts_of(path)
