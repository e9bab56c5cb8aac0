from __future__ import annotations

from hypothesis import assume, example, given
from hypothesis import strategies as st

from modelfetch.core.refs import MAX_LENGTH, ModelRef, parse
from modelfetch.errors import InvalidReference

# Pieces that mean something in references: arbitrary text almost never hits two of them.
PIECES = st.sampled_from(
    [
        "owner", "name", "owner/name", "Q4_K_M", "UD-Q4_K_XL", "f16", "main", "v1.0", "refs", "pr",
        "refs/pr/1", "refs/convert/x", "1", "convert", "tree", "blob", "resolve", "datasets",
        "models", "x.gguf", "a b", "ü", "%2F", "%20", "%", "%ff", "/", "//", "@", ":", "#", "?",
        "&", "=", "..", ".", "-", "--", ".git", "\\", " ", "\t", "\x00", "\ud800", "hf:", "hf://",
        "huggingface://", "https://", "http://", "ftp://", "huggingface.co", "hf.co", "lmstudio.ai",
        "localhost:8080", "[::1]:80", "user:secret@", "?download=true", "?show_file_info=x.gguf",
        "#L1",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=3), max_size=9).map("".join)

WORD = st.text("abzABZ019-._", min_size=1, max_size=8)
SEGMENT = PIECES | st.text(min_size=1, max_size=6) | WORD
PATH = st.lists(SEGMENT, min_size=1, max_size=3).map("/".join)
REVISION = st.none() | PATH
QUANTIZATION = st.none() | WORD | st.sampled_from(["Q4_K_M", "UD-Q4_K_XL", "f16", "main"])


@given(st.tuples(WORD, WORD).map("/".join), REVISION, QUANTIZATION, st.none() | PATH, st.booleans())
@example("o/n", "Q4_K_M", None, None, False)
@example("o/n", "Q4_K_M", "f16", None, False)
@example("o/n", "Q4_K_M", None, "a/b", False)
@example("o/n", "refs", None, "pr/1", False)
@example("o/n", "refs/pr/1", None, "pr/1", False)
@example("o/n", "f16/x", None, None, False)
@example("o/n", None, None, "a@Q4_K_M", False)
@example("o/n", None, "Q8_0", "100%25 #?:.gguf", False)
@example("o/n", None, "q4_k_m", None, True)
@example("0.0/n", None, None, "x", False)
def test_the_canonical_form_gives_the_reference_back(
    repo: str, revision: str | None, quantization: str | None, file: str | None, catalog: bool
) -> None:
    try:
        ref = ModelRef(repo, revision, quantization, file, catalog)
    except InvalidReference:
        assume(False)
        raise
    assert parse(str(ref)) == ref
    assert str(parse(str(ref))) == str(ref)


@given(TEXTS | st.text())
@example("https://huggingface.co:99999999999/a/b")
@example("https://[/a/b")
@example("x" * (MAX_LENGTH + 1))
def test_any_text_is_a_reference_or_an_invalid_one(text: str) -> None:
    try:
        ref = parse(text, hosts=("huggingface.co", "localhost:8080"))
    except InvalidReference as error:
        assert error.message
        assert error.hint
        assert str(error).isprintable()
        assert "secret" not in str(error) or "//user:secret@" not in text[:20]
    else:
        assert parse(str(ref)) == ref
        assert str(ref).isascii()


@given(TEXTS | st.text())
def test_nothing_that_parses_leaves_the_repository(text: str) -> None:
    try:
        ref = parse(text)
    except InvalidReference:
        return
    for path in (ref.repo, ref.revision or "x", ref.file or "x"):
        assert not {"", ".", ".."} & set(path.split("/"))
        assert "\\" not in path
        assert path.isprintable()
