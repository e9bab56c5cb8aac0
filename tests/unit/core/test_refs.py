from __future__ import annotations

import pytest

from modelfetch.core.refs import MAX_LENGTH, ModelRef, parse
from modelfetch.errors import InvalidReference

SHA = "4edb920b00000000000000000000000000000000"


def ref(
    revision: str | None = None,
    quantization: str | None = None,
    file: str | None = None,
    repo: str = "owner/Repo-GGUF",
) -> ModelRef:
    return ModelRef(repo, revision, quantization, file)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("owner/Repo-GGUF", ref()),
        ("  owner/Repo-GGUF\n", ref()),
        ("owner/Repo-GGUF/", ref()),
        ("owner/Repo-GGUF:Q4_K_M", ref(None, "Q4_K_M")),
        ("owner/Repo-GGUF:ud-q4_k_xl", ref(None, "ud-q4_k_xl")),
        ("owner/Repo-GGUF:Q4_K_M-fp16", ref(None, "Q4_K_M-fp16")),
        ("owner/Repo-GGUF:APEX-I-Quality", ref(None, "APEX-I-Quality")),
        ("owner/Repo-GGUF:x-Q4_K_M.gguf", ref(file="x-Q4_K_M.gguf")),
        ("owner/Repo-GGUF:BF16/x-00001-of-00002.gguf", ref(file="BF16/x-00001-of-00002.gguf")),
        # @ is a quantization when it looks like one, else a revision.
        ("owner/Repo-GGUF@Q4_K_M", ref(None, "Q4_K_M")),
        ("owner/Repo-GGUF@q8_0", ref(None, "q8_0")),
        ("owner/Repo-GGUF@i1-IQ4_XS", ref(None, "i1-IQ4_XS")),
        ("owner/Repo-GGUF@Q4_XS", ref(None, "Q4_XS")),
        ("owner/Repo-GGUF@f16", ref(None, "f16")),
        ("owner/Repo-GGUF@mxfp4", ref(None, "mxfp4")),
        ("owner/Repo-GGUF@main", ref("main")),
        ("owner/Repo-GGUF@v1.0", ref("v1.0")),
        (f"owner/Repo-GGUF@{SHA}", ref(SHA)),
        ("owner/Repo-GGUF@4bit", ref("4bit")),
        ("owner/Repo-GGUF@quality", ref("quality")),
        ("owner/Repo-GGUF@refs/pr/1", ref("refs/pr/1")),
        ("owner/Repo-GGUF@refs/pr/1:Q8_0", ref("refs/pr/1", "Q8_0")),
        ("owner/Repo-GGUF@refs%2Fpr%2F1", ref("refs/pr/1")),
        ("owner/Repo-GGUF@main:Q4_K_M", ref("main", "Q4_K_M")),
        ("owner/Repo-GGUF@main@Q4_K_M", ref("main", "Q4_K_M")),
        ("owner/Repo-GGUF@f16:Q4_K_M", ref("f16", "Q4_K_M")),
        ("owner/Repo-GGUF@feature%2Fx", ref("feature/x")),
        ("owner/Repo-GGUF#dev", ref("dev")),
        # Files, with and without a scheme.
        ("owner/Repo-GGUF/BF16/x.gguf", ref(file="BF16/x.gguf")),
        ("hf:owner/Repo-GGUF", ref()),
        ("HF:owner/Repo-GGUF:q4_k_m", ref(None, "q4_k_m")),
        ("hf:owner/Repo-GGUF/x.gguf#dev", ref("dev", file="x.gguf")),
        ("hf://owner/Repo-GGUF", ref()),
        ("hf://models/owner/Repo-GGUF", ref()),
        ("hf://owner/Repo-GGUF@main", ref("main")),
        ("hf://owner/Repo-GGUF@main/BF16", ref("main", file="BF16")),
        ("hf://owner/Repo-GGUF@f16/x.gguf", ref("f16", file="x.gguf")),
        ("hf://owner/Repo-GGUF@refs/pr/12/a/b.gguf", ref("refs/pr/12", file="a/b.gguf")),
        ("hf://owner/Repo-GGUF@refs/convert/x.y/a", ref("refs/convert/x.y", file="a")),
        ("hf://owner/Repo-GGUF@a%2Fb/c.gguf", ref("a/b", file="c.gguf")),
        ("hf://owner/Repo-GGUF/a%20b%40c.gguf", ref(file="a b@c.gguf")),
        ("hf://owner/Repo-GGUF/BF16:Q8_0", ref(None, "Q8_0", "BF16")),
        ("hf://owner/Repo-GGUF/BF16@Q8_0", ref(None, "Q8_0", "BF16")),
        ("huggingface://owner/Repo-GGUF/x.gguf", ref(file="x.gguf")),
        ("huggingface://owner/Repo-GGUF/x.gguf@dev", ref("dev", file="x.gguf")),
        # Links.
        ("hf.co/owner/Repo-GGUF", ref()),
        ("hf.co/owner/Repo-GGUF:IQ4_XS", ref(None, "IQ4_XS")),
        ("huggingface.co/owner/Repo-GGUF/tree/main", ref("main")),
        ("HuggingFace.co/owner/Repo-GGUF", ref()),
        ("https://huggingface.co/owner/Repo-GGUF", ref()),
        ("HTTPS://HUGGINGFACE.CO/owner/Repo-GGUF/", ref()),
        ("http://huggingface.co:80/owner/Repo-GGUF", ref()),
        ("https://www.huggingface.co/owner/Repo-GGUF", ref()),
        ("https://huggingface.co/models/owner/Repo-GGUF", ref()),
        ("https://huggingface.co/owner/Repo-GGUF?library=x#files", ref()),
        ("https://huggingface.co/owner/Repo-GGUF@Q4_K_M", ref(None, "Q4_K_M")),
        ("https://huggingface.co/owner/Repo-GGUF:Q4_K_M", ref(None, "Q4_K_M")),
        ("https://huggingface.co/owner/Repo-GGUF@v1", ref("v1")),
        ("https://huggingface.co/owner/Repo-GGUF/tree/Q4_0", ref("Q4_0")),
        ("https://huggingface.co/owner/Repo-GGUF/tree/main@Q8_0", ref("main", "Q8_0")),
        ("https://huggingface.co/owner/Repo-GGUF/tree/main/BF16", ref("main", file="BF16")),
        ("https://huggingface.co/owner/Repo-GGUF/tree/refs%2Fpr%2F1", ref("refs/pr/1")),
        ("https://huggingface.co/owner/Repo-GGUF/tree/refs/pr/1/a", ref("refs/pr/1", file="a")),
        (
            "https://huggingface.co/owner/Repo-GGUF/resolve/main/a%20b/x.gguf?download=true",
            ref("main", file="a b/x.gguf"),
        ),
        ("https://huggingface.co/owner/Repo-GGUF/raw/v1/x.gguf", ref("v1", file="x.gguf")),
        (
            "https://huggingface.co/owner/Repo-GGUF/blob/main/x@y.gguf#L1",
            ref("main", file="x@y.gguf"),
        ),
        (
            "https://huggingface.co/owner/Repo-GGUF?not=1&show_file_info=a%2Fx.gguf",
            ref(file="a/x.gguf"),
        ),
        (
            "https://huggingface.co/owner/Repo-GGUF/tree/main?show_file_info=x-Q8_0.gguf",
            ref("main", file="x-Q8_0.gguf"),
        ),
        (
            "https://huggingface.co/owner/Repo-GGUF?show_tensors=x-Q8_0.gguf",
            ref(file="x-Q8_0.gguf"),
        ),
        # Mirrors.
        ("https://mirror.test/owner/Repo-GGUF", ref()),
        ("http://127.0.0.1:8080/owner/Repo-GGUF@Q4_0", ref(None, "Q4_0")),
        ("127.0.0.1:8080/owner/Repo-GGUF", ref()),
        # LM Studio's catalog.
        ("qwen/qwen3-4b-2507", ModelRef("qwen/qwen3-4b-2507")),
        (
            "https://lmstudio.ai/models/qwen/qwen3-4b-2507",
            ModelRef("qwen/qwen3-4b-2507", catalog=True),
        ),
        ("lmstudio.ai/qwen/qwen3-4b-2507", ModelRef("qwen/qwen3-4b-2507", catalog=True)),
        (
            "https://lmstudio.ai/models/Qwen/Qwen3.5-9B@q4_k_m",
            ModelRef("qwen/qwen3.5-9b", None, "q4_k_m", catalog=True),
        ),
    ],
)
def test_understood(text: str, expected: ModelRef) -> None:
    found = parse(text, hosts=("huggingface.co", "mirror.test", "127.0.0.1:8080"))
    assert found == expected
    assert parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "from 1 to"),
        (" \t\n", "from 1 to"),
        ("llama", "'llama' is one word"),
        ("Q4_K_M", "one word"),
        ("owner/", "one word"),
        ("/name", "path on this machine"),
        ("owner/na me", "space"),
        ("owner/name Q4_K_M", "space"),
        ("owner/na\x00me", "control character"),
        ("owner/na\u200bme", "control character"),
        ("owner\\name", "backslash"),
        ("owner/../name", "no name on the Hub"),
        ("owner/name/../other", "'../other' is not the path"),
        ("owner/name/a//b", "not the path"),
        ("owner/name%2Fa/../../b", "not"),
        ("owner/name@a/../b", "not the path"),
        ("owner/name@%2e%2e", "'..' is not a branch"),
        ("owner/name@a%20b", "is not a branch"),
        ("owner/name@-x", "is not a branch"),
        ("owner/name@x.lock", "is not a branch"),
        ("owner/name@", "revision after the @ is empty"),
        ("owner/name:", "quantization is empty"),
        ("owner/name:Q4 K", "space"),
        ("owner/name:Q4/K", "is not a quantization"),
        ("owner/name:_", "is not a quantization"),
        ("owner/name@main@dev", "more than one revision"),
        ("owner/name@main#dev", "more than one revision"),
        ("owner/name@a@b@c", "one @ too many"),
        ("owner/name/a.gguf:b.gguf", "two files"),
        ("owner/name%ff", "not percent-encoded"),
        ("owner/-name", "no name on the Hub"),
        ("owner/name-", "no name on the Hub"),
        ("owner/.name", "no name on the Hub"),
        ("owner/na--me", "no name on the Hub"),
        ("owner/na..me", "no name on the Hub"),
        ("owner/name.git", "no name on the Hub"),
        ("owner/näme", "no name on the Hub"),
        ("o" * 97 + "/name", "no name on the Hub"),
        ("owner/name?download=true", "no name on the Hub"),
        ("owner/" + "x" * MAX_LENGTH, "from 1 to 2048"),
        ("/home/me/model.gguf", "path on this machine"),
        ("./models/model.gguf", "path on this machine"),
        ("/models/model.gguf", "path on this machine"),
        ("~/model.gguf", "path on this machine"),
        ("C:/models/x.gguf", "'C' is one word"),
        ("models/x.gguf", "another kind of repository"),
        ("datasets/owner/name", "another kind of repository"),
        ("hf://datasets/owner/name", "another kind of repository"),
        ("https://huggingface.co/datasets/owner/name", "another kind of repository"),
        ("https://huggingface.co/spaces/owner/name", "another kind of repository"),
        ("https://huggingface.co/collections/owner/name", "page"),
        ("https://huggingface.co", "'' , which is not owner/name".replace(" ,", ",")),
        ("https://huggingface.co/owner", "'owner', which is not owner/name"),
        ("https://huggingface.co/owner/name/discussions/1", "the page 'discussions'"),
        ("https://huggingface.co/owner/name/tree", "the page 'tree'"),
        ("https://huggingface.co/owner/name/commit/main", "the page 'commit'"),
        ("https://example.com/owner/name", "'example.com', which is not the configured Hub"),
        ("https://huggingface.co.evil.test/o/n", "not the configured Hub"),
        ("https://huggingface.co:8080/o/n", "not the configured Hub"),
        ("https://evil.test/https://huggingface.co/o/n", "not the configured Hub"),
        ("hf-mirror.com/owner/name", "'hf-mirror.com' looks like a host"),
        ("https://user:pw@huggingface.co/o/n", "user name or a password"),
        ("https://huggingface.co@evil.test/o/n", "user name or a password"),
        ("ftp://huggingface.co/o/n", "ftp:// is not an address"),
        ("file:///etc/passwd", "file:// is not an address"),
        ("https://lmstudio.ai/models/qwen", "not of the form owner/name"),
        ("https://lmstudio.ai/models/qwen/a/b", "not of the form owner/name"),
        ("https://lmstudio.ai/models/qwen/a@main", "no name on the Hub"),
        ("https://lmstudio.ai/qwen/a_b", "not an id of LM Studio's catalog"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse(text)
    assert message in caught.value.message
    assert "unsloth/Qwen3-4B-GGUF" in (caught.value.hint or "")
    assert len(caught.value.message) < 400


def test_a_mirror_is_unknown_unless_configured() -> None:
    with pytest.raises(InvalidReference):
        parse("https://mirror.test/owner/name")
    assert parse("https://mirror.test/owner/name", hosts=["mirror.test"]).repo == "owner/name"
    assert parse("https://mirror.test/owner/name", hosts=["Mirror.test:443"]).repo == "owner/name"
    assert parse("https://huggingface.co/owner/name", hosts=[]).repo == "owner/name"


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        (ref(), "owner/Repo-GGUF"),
        (ref("main", "Q4_K_M"), "owner/Repo-GGUF@main:Q4_K_M"),
        (ref("refs/pr/1"), "owner/Repo-GGUF@refs/pr/1"),
        (ref("a/b"), "owner/Repo-GGUF@a%2Fb"),
        (ref("Q4_K_M"), "https://huggingface.co/owner/Repo-GGUF/tree/Q4_K_M"),
        (ref("Q4_K_M", "Q8_0"), "owner/Repo-GGUF@Q4_K_M:Q8_0"),
        (ref("Q4_K_M", None, "a"), "hf://owner/Repo-GGUF@Q4_K_M/a"),
        (ref("refs", None, "pr/1"), "hf://owner/Repo-GGUF@%72efs/pr/1"),
        (ref(None, "Q8_0", "a b:c"), "hf://owner/Repo-GGUF/a%20b%3Ac:Q8_0"),
        (ModelRef("qwen/qwen3-8b", catalog=True), "https://lmstudio.ai/models/qwen/qwen3-8b"),
    ],
)
def test_canonical_form(reference: ModelRef, text: str) -> None:
    assert str(reference) == text
    assert parse(text) == reference


@pytest.mark.parametrize(
    "fields",
    [
        {"repo": "name"},
        {"repo": "a/b/c"},
        {"repo": "o/n", "revision": ""},
        {"repo": "o/n", "revision": "a b"},
        {"repo": "o/n", "quantization": ""},
        {"repo": "o/n", "quantization": "x.gguf"},
        {"repo": "o/n", "file": ""},
        {"repo": "o/n", "file": "/etc/passwd"},
        {"repo": "o/n", "file": "a/./b"},
        {"repo": "o/n", "file": "a\nb"},
        {"repo": "o/n", "file": "ü" * MAX_LENGTH},
        {"repo": "o/n", "file": "x", "catalog": True},
        {"repo": "o/n", "revision": "main", "catalog": True},
        {"repo": "O/n", "catalog": True},
    ],
)
def test_no_reference_is_built_that_has_no_canonical_form(fields: dict[str, str]) -> None:
    with pytest.raises(InvalidReference):
        ModelRef(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "hf_" + "a" * 34,
        "https://user:hunter2@huggingface.co/o/n",
        "https://huggingface.co/owner?token=hunter2",
        "https://huggingface.co/o/n/page?X-Amz-Signature=hunter2",
        "owner/x hf_" + "a" * 34,
    ],
)
def test_a_message_shows_no_secret(text: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse(text)
    assert "hunter2" not in str(caught.value)
    assert "aaaa" not in str(caught.value)
