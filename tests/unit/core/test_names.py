"""Names of real files, and what they say. Each expectation is hand-written."""

from __future__ import annotations

import pytest

from modelfetch.core.labels import Label, folder_label, parse_label, quality, tag_key
from modelfetch.core.names import read_name
from modelfetch.types import FileRole

MODEL, OTHER = FileRole.MODEL, FileRole.OTHER


@pytest.mark.parametrize(
    ("path", "label", "prefix", "tag"),
    [
        # Separators and case.
        ("gemma-2-9b-it-Q4_K_M.gguf", "Q4_K_M", None, None),
        ("Model.Q4_K_M.gguf", "Q4_K_M", None, None),
        ("model_q4_k_m.gguf", "Q4_K_M", None, None),
        ("Gemma-3-The-Grand-Horror-27B-Q4_k_m.gguf", "Q4_K_M", None, None),
        ("qwen2.5-0.5b-instruct-q8_0.gguf", "Q8_0", None, None),
        ("nous-hermes-2-solar-10.7b.Q2_K.gguf", "Q2_K", None, None),
        ("openai_gpt-oss-20b-Q6_K_L.gguf", "Q6_K_L", None, None),
        ("Qwen3-4B-Q4_K_M.GGUF", "Q4_K_M", None, None),
        ("Q8_0.gguf", "Q8_0", None, None),
        ("model (Q4_K_M).gguf", "Q4_K_M", None, ")"),
        ("m-Q4K.gguf", "Q4_K", None, None),
        ("m-q4km.gguf", "Q4_K_M", None, None),
        ("m-Q4-K-M.gguf", "Q4_K_M", None, None),
        ("m-q8-0.gguf", "Q8_0", None, None),
        # Prefixes.
        ("gemma-3-12b-it-UD-Q4_K_XL.gguf", "Q4_K_XL", "UD", None),
        ("gemma-3-12b-it-UD-IQ1_S.gguf", "IQ1_S", "UD", None),
        ("m.UD_Q4_K_XL.gguf", "Q4_K_XL", "UD", None),
        ("Model.i1-Q4_K_M.gguf", "Q4_K_M", "I1", None),
        ("Model-smol-IQ4_KSS.gguf", "IQ4_KSS", "SMOL", None),
        ("model-imat-Q4_K_M.gguf", "Q4_K_M", "IMAT", None),
        ("Qwen3-8B-bf16-q8_0.gguf", "Q8_0", "BF16", None),
        ("Llama.fp16.q6.gguf", "Q6", "F16", None),
        ("SmolLM2-1.7B-Q4_K_M.gguf", "Q4_K_M", None, None),
        # Tags.
        ("gemma-2-9b-it-Q4_K_M-fp16.gguf", "Q4_K_M", None, "fp16"),
        ("gemma-2-9b-it-Q6_K-f32.gguf", "Q6_K", None, "f32"),
        ("gemma-2-9b-it-Q3_K_L-Q8.gguf", "Q3_K_L", None, "q8"),
        ("Qwen3.8-27B-GSQ-RCO-IQ3_S-mtp.gguf", "IQ3_S", None, "mtp"),
        ("M-IQ4_XS-3.57bpw.gguf", "IQ4_XS", None, "3.57bpw"),
        ("Model-Q4_K_M-imat.gguf", "Q4_K_M", None, "imat"),
        ("M-Q5_K_M-F16-Merged.gguf", "Q5_K_M", None, "f16-merged"),
        ("M-Q4_K_M_v2.gguf", "Q4_K_M", None, "v2"),
        ("M-Q4_K_M-GGUF.gguf", "Q4_K_M", None, None),
        # The model's own words after the label.
        ("gemma-4-31B_q4_0-it.gguf", "Q4_0", None, None),
        ("gemma_q4_0_it_v2.gguf", "Q4_0", None, "v2"),
        # Two tokens.
        ("amd.X.f16.gguf.Q4_K_M.gguf", "Q4_K_M", None, None),
        ("gemma-3-27b-it-qat-q4_0-unquantized.Q6_K.gguf", "Q6_K", None, None),
        ("M-Q8_0-f16.gguf", "Q8_0", None, "f16"),
        # Every family.
        ("m-IQ2_XXS.gguf", "IQ2_XXS", None, None),
        ("m-iq4_nl.gguf", "IQ4_NL", None, None),
        ("X-IQ2XXS-w2Q2K-AProjQ8.gguf", "IQ2_XXS", None, "w2q2k-aprojq8"),
        ("m-IQ2_KS.gguf", "IQ2_KS", None, None),
        ("m-IQ4_KS_R4.gguf", "IQ4_KS_R4", None, None),
        ("m-TQ1_0.gguf", "TQ1_0", None, None),
        ("m-TQ3_1S.gguf", "TQ3_1S", None, None),
        ("Ternary-Bonsai-27B-PQ2_0.gguf", "PQ2_0", None, None),
        ("Ternary-Bonsai-27B-Q2_g64.gguf", "Q2_G64", None, None),
        ("Bonsai-8B-Q1_0_g128.gguf", "Q1_0_G128", None, None),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4", None, None),
        ("gpt-oss-20b-MXFP4_MOE.gguf", "MXFP4_MOE", None, None),
        ("gpt-oss-20b-MXFP4-MoE.gguf", "MXFP4_MOE", None, None),
        ("OpenAI-20B-NEO-MXFP4_MOE4.gguf", "MXFP4_MOE4", None, None),
        ("m-NVFP4.gguf", "NVFP4", None, None),
        ("ggml-model-i2_s.gguf", "I2_S", None, None),
        ("M-Q4_0_4_4.gguf", "Q4_0_4_4", None, None),
        ("M-Q4_0_8_8.gguf", "Q4_0_8_8", None, None),
        ("M-Q4_1_SOME_F16.gguf", "Q4_1_SOME_F16", None, None),
        ("M-Q8_0_L.gguf", "Q8_0_L", None, None),
        ("M-Q8_K_P.gguf", "Q8_K_P", None, None),
        ("M-Q8_KV.gguf", "Q8_KV", None, None),
        ("phi-2-layla-v1-chatml-Q4_K.gguf", "Q4_K", None, None),
        ("Phi-3-mini-4k-instruct-q4.gguf", "Q4", None, None),
        ("Model.fp16.gguf", "F16", None, None),
        ("Model-F16.gguf", "F16", None, None),
        ("Model-bf16.gguf", "BF16", None, None),
        ("Model-f32.gguf", "F32", None, None),
        # From the folder.
        ("UD-Q4_K_XL/model.gguf", "Q4_K_XL", "UD", None),
        ("Q8_0/a/model.gguf", "Q8_0", None, None),
        ("Q8_0/M-Q4_0.gguf", "Q4_0", None, None),
        ("M-Q8_0/M.gguf", "Q8_0", None, None),
        # None at all.
        ("Qwen3-Almost-Human-X1-6B-e32.gguf", None, None, None),
        ("Q3-30B-A3B.gguf", None, None, None),
        ("Q3-30B-A3B-F16.gguf", "F16", None, None),
        ("M-APEX-I-Quality.gguf", None, None, None),
        ("M-kquant-dynamic.gguf", None, None, None),
        ("M-Ridge-3.7bpw.gguf", None, None, None),
        ("xQ4_K_Mx.gguf", None, None, None),
        ("Model.gguf", None, None, None),
    ],
)
def test_label(path: str, label: str | None, prefix: str | None, tag: str | None) -> None:
    name = read_name(path)
    assert (name.label, name.prefix, name.tag) == (label, prefix, tag)
    assert name.role is MODEL


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("mmproj-F16.gguf", FileRole.MMPROJ),
        ("mmproj.gguf", FileRole.MMPROJ),
        ("mmproj-model-f16.gguf", FileRole.MMPROJ),
        ("mmproj-google_gemma-3-4b-it-bf16.gguf", FileRole.MMPROJ),
        ("Ternary-Bonsai-27B-mmproj-Q8_0.gguf", FileRole.MMPROJ),
        ("Model.mmproj-Q8_0.gguf", FileRole.MMPROJ),
        ("mmproj-kquant.gguf", FileRole.MMPROJ),
        ("mmproj/Model-F16.gguf", FileRole.MMPROJ),
        ("projector-fp16.gguf", FileRole.MMPROJ),
        ("mtp-Qwen3.8-27B-Q4_0.gguf", FileRole.DRAFTER),
        ("MTP/mtp-Qwen3.8-27B-Q4_0.gguf", FileRole.DRAFTER),
        ("MTP/Qwen3.8-27B-Q4_0.gguf", FileRole.DRAFTER),
        ("MTP-Q4_0/Qwen3.8-27B.gguf", FileRole.DRAFTER),
        ("Qwen3-eagle3/Qwen3-Q4_0.gguf", FileRole.DRAFTER),
        ("dflash-Qwen3-8B-Q8_0.gguf", FileRole.DRAFTER),
        ("Qwen3-8B-DFlash-Q8_0.gguf", FileRole.DRAFTER),
        ("dspark-x.gguf", FileRole.DRAFTER),
        ("Qwen3-8B-eagle3-f16.gguf", FileRole.DRAFTER),
        ("Qwen3.8-27B-MTP-Q4_K_M.gguf", MODEL),
        ("gemma-4-12b-it-Q8_0-MTP-001-of-002.gguf", MODEL),
        ("Eagle2.5-8B-Q4_K_M.gguf", MODEL),
        ("imatrix.gguf", FileRole.IMATRIX),
        ("imatrix_unsloth.gguf", FileRole.IMATRIX),
        ("imatrix-qwen3-14b.gguf", FileRole.IMATRIX),
        ("Model.imatrix.gguf", FileRole.IMATRIX),
        ("Model-bf16.imatrix.gguf", FileRole.IMATRIX),
        ("Model-imat.gguf", FileRole.IMATRIX),
        ("imatrix/Model.gguf", FileRole.IMATRIX),
        ("imatrix/Model-Q4_K_M.gguf", MODEL),
        ("Model-Q4_K_M-imat.gguf", MODEL),
        ("Q4_K_M/Model-imat.gguf", MODEL),
        ("Model-imatrix-Q4_K_M.gguf", MODEL),
        ("DeepSeek-IQ2XXS-w2Q2K-chat-v2-imatrix.gguf", MODEL),
        ("x.lora.gguf", FileRole.LORA),
        ("LoRA-Qwen-F16.gguf", FileRole.LORA),
        ("Qwen-abliterated-F16-LoRA.gguf", FileRole.LORA),
        ("qwen-lora-f16.gguf", FileRole.LORA),
        ("ggml-adapter-model.gguf", FileRole.LORA),
        ("lora/x-F16.gguf", FileRole.LORA),
        ("alpaca-lora-65B.Q4_K_M.gguf", MODEL),
        ("guanaco-qlora.Q8_0.gguf", MODEL),
        ("tokenizer.gguf", FileRole.VOCAB),
        ("tokenizer-LFM2.5-Audio-1.5B-Q4_0.gguf", FileRole.VOCAB),
        ("qwen3-tts-tokenizer-f16.gguf", FileRole.VOCAB),
        ("ggml-vocab-llama-bpe.gguf", FileRole.VOCAB),
        ("x-vocab.gguf", FileRole.VOCAB),
        ("Llama-extended-vocab-Q4_K_M.gguf", MODEL),
        ("vocoder-LFM2.5-Audio-1.5B-Q4_0.gguf", OTHER),
        ("granite-3.3-2b-instruct-be.Q4_K_M.gguf", FileRole.BIG_ENDIAN),
        ("granite-be.gguf", FileRole.BIG_ENDIAN),
        ("granite-be-Q4_K_M.gguf", FileRole.BIG_ENDIAN),
        ("granite-Q4_K_M-be.gguf", FileRole.BIG_ENDIAN),
        ("be/granite-Q4_K_M.gguf", FileRole.BIG_ENDIAN),
        ("let-it-be-7B-Q4_K_M.gguf", MODEL),
        ("._Model-Q4_K_M.gguf", OTHER),
        ("a/._Model-Q4_K_M.gguf", OTHER),
        ("README.md", OTHER),
        ("Model-Q4_K_M", OTHER),
        ("Model-Q4_K_M.gguf.sha256", OTHER),
        ("Model-Q4_K_M.gguf.md", OTHER),
        ("Model-Q4_K_M.gguf.gz", OTHER),
        ("Model-Q4_K_M.gguf_file", OTHER),
        ("Model-Q4_K_M.gguf.part", OTHER),
        ("imatrix.dat", OTHER),
        ("model.safetensors", OTHER),
        (".gguf", OTHER),
        ("", OTHER),
        ("Model-00004-of-00003.gguf", OTHER),
        ("Model-00000-of-00003.gguf", OTHER),
        ("mmproj-F16.gguf.part1of2", FileRole.MMPROJ),
        ("Model-Q8_0.gguf.part1of2", FileRole.BYTE_PART),
    ],
)
def test_role(path: str, role: FileRole) -> None:
    assert read_name(path).role is role


@pytest.mark.parametrize(
    ("path", "shard", "stem"),
    [
        ("a/M-Q8_0-00001-of-00002.gguf", (1, 2), "M-Q8_0"),
        ("grok-1-IQ3_XS-split-00009-of-00009.gguf", (9, 9), "grok-1-IQ3_XS"),
        ("M.Q6_K.gguf-00003-of-00006.gguf", (3, 6), "M.Q6_K"),
        ("gemma-4-12b-it-Q8_0-MTP-001-of-002.gguf", (1, 2), "gemma-4-12b-it-Q8_0-MTP"),
        ("M-1-of-12.gguf", (1, 12), "M"),
        ("M_00001_of_00002.gguf", (1, 2), "M"),
        ("M-2507.gguf", None, "M-2507"),
        ("M-best-of-3.gguf", None, "M-best-of-3"),
    ],
)
def test_shard(path: str, shard: tuple[int, int] | None, stem: str) -> None:
    name = read_name(path)
    assert (name.shard, name.part, name.stem) == (shard, None, stem)


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("M.Q8_0.gguf.part1of2", (1, 2)),
        ("M.Q8_0.gguf.part-2-of-2", (2, 2)),
        ("M.Q8_0.gguf.part3", (3, None)),
        ("M.Q8_0-chunk-001-of-018.gguf", (1, 18)),
        ("M.Q8_0-part2of3.gguf", (2, 3)),
        ("M.Q8_0.part2.gguf", (2, None)),
        ("M.Q8_0.gguf-split-a", (1, None)),
        ("M.Q8_0.gguf-split-c", (3, None)),
        ("M.Q8_0.gguf.a", (1, None)),
        ("M.Q8_0.gguf.aa", (1, None)),
        ("M.Q8_0.gguf.ad", (4, None)),
        ("M.Q8_0.gguf.partba", (27, None)),
        ("M.Q8_0.gguf.003", (3, None)),
    ],
)
def test_byte_part(path: str, part: tuple[int, int | None]) -> None:
    name = read_name(path)
    assert (name.role, name.part, name.shard) == (FileRole.BYTE_PART, part, None)
    assert (name.stem, name.label) == ("M.Q8_0", "Q8_0")


def groups(*paths: str) -> int:
    return len({read_name(path).group for path in paths})


def test_only_the_files_of_one_set_share_a_group() -> None:
    one = "a/M-Q8_0-00001-of-00002.gguf"
    assert groups(one, "a/M-Q8_0-00002-of-00002.gguf") == 1
    others = [
        "a/M-Q8_0-00001-of-00003.gguf",
        "a/M-Q8_0-001-of-002.gguf",
        "a/M-Q8_0-split-00001-of-00002.gguf",
        "a/M-Q8_0.gguf-00001-of-00002.gguf",
        "b/M-Q8_0-00001-of-00002.gguf",
        "a/M-q8_0-00001-of-00002.gguf",
        "a/M-Q8_0.gguf",
        "a/M-Q8_0-*-of-00002.gguf",
        "a/M-Q8_0.gguf.part1of2",
        "a/M-Q8_0.gguf.part1of3",
        "a/M-Q8_0.gguf.1",
        "a/M-Q8_0.gguf.a",
        "a/M-Q8_0.gguf.aa",
    ]
    assert groups(one, *others) == len(others) + 1
    assert groups("M.gguf.a", "M.gguf.b") == 1
    assert groups("M.gguf.part1of2", "M.gguf.part2of2") == 1


def test_what_else_a_name_says() -> None:
    name = read_name("distilled/ltx-2.3-22b-distilled-UD-Q4_K_M.gguf")
    assert name.directory == "distilled"
    assert name.base == "ltx-2.3-22b-distilled"
    assert name.quantization == Label("Q4_K_M", "UD")
    assert str(name.quantization) == "UD-Q4_K_M"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Q4_K_M", Label("Q4_K_M")),
        ("q4_k_m", Label("Q4_K_M")),
        ("ud-q4_k_xl", Label("Q4_K_XL", "UD")),
        ("i1-IQ4_XS", Label("IQ4_XS", "I1")),
        ("Q4_K_M-fp16", Label("Q4_K_M", None, "fp16")),
        ("Q6_K-Q8", Label("Q6_K", None, "q8")),
        ("q8", Label("Q8")),
        ("fp16", Label("F16")),
        ("Q4_XS", Label("Q4_XS")),
        ("main", None),
        ("v1.0", None),
        ("4bit", None),
        ("f16a9c", None),
        ("gemma-Q4_K_M", None),
        ("xQ4_K_M", None),
        ("", None),
        ("straße", None),
    ],
)
def test_parse_label(text: str, label: Label | None) -> None:
    assert parse_label(text) == label


def test_spellings_of_a_tag() -> None:
    assert tag_key("fp16") == tag_key("f16") == "f16"
    assert tag_key("fp32-merged") == "f32-merged"
    assert tag_key("mtp") == "mtp"
    assert tag_key(None) is None


def test_folder_label_is_the_nearest() -> None:
    assert folder_label("Q8_0/x/UD-Q4_K_XL") == Label("Q4_K_XL", "UD")
    assert folder_label("") is None


def test_quality_follows_the_bits() -> None:
    falling = "F64 F32 BF16 F16 Q8_0 Q6_K_L Q6_K Q5_K_L Q5_K_M Q4_K_L Q4_K_M IQ4_XS Q3_K_M Q2_K"
    values = [quality(label) for label in falling.split()]
    assert values == sorted(values, reverse=True)
    assert quality("Q4_K") == quality("Q4_K_M")
    assert quality("MXFP4") == quality("MXFP4_MOE")
    assert quality("Q4_XS") == quality("IQ4_XS")
    assert quality("Q4_K_M") > quality("IQ4_KSS") > quality("Q3_K_M")
    assert quality("Q1_0") >= quality("I2_S") - 50 > quality(None)
    assert quality("NF4") > quality("Q3_K_M")


def test_other_alphabets_keep_their_places() -> None:
    # `str.upper` makes two letters of one here; the rest must not shift.
    name = read_name("straßenbahn-ŉ-Q4_K_M-ﬁn.gguf")
    assert (name.label, name.tag, name.base) == ("Q4_K_M", "ﬁn", "straßenbahn-ŉ")
