"""Real listings of the Hub, and what each request means there. Every expectation is hand-written.

`tests/data/listings.json` says of each repository how complete the listing is. Requests are
written as users write them; `None` is the default.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from tests.listings import LISTINGS

from modelfetch.core.quants import choose, variants
from modelfetch.errors import (
    AmbiguousQuantization,
    IncompleteModel,
    ModelFetchError,
    QuantizationNotFound,
)
from modelfetch.types import FileRole, RemoteFile


@dataclass(frozen=True)
class Miss:
    """Nothing of that name; `nearest` is the first of what there is."""

    nearest: str


@dataclass(frozen=True)
class Tie:
    """Several builds, and what to type for each."""

    labels: frozenset[str]


@dataclass(frozen=True)
class Lacks:
    """An incomplete set, and how many files of it are missing."""

    files: int


Expected = list[str] | Miss | Tie | Lacks


def tie(*labels: str) -> Tie:
    return Tie(frozenset(labels))


def shards(pattern: str, count: int) -> list[str]:
    return [pattern.format(index) for index in range(1, count + 1)]


GEMMA2 = "bartowski/gemma-2-9b-it-GGUF"
GEMMA3 = "unsloth/gemma-3-12b-it-GGUF"
GEMMA3_4B = "ggml-org/gemma-3-4b-it-GGUF"
QWEN38 = "unsloth/Qwen3.8-27B-GGUF"
QWEN38_GGML = "ggml-org/Qwen3.8-27B-GGUF"
OSS_GGML = "ggml-org/gpt-oss-120b-GGUF"
OSS_LMS = "lmstudio-community/gpt-oss-120b-GGUF"
OSS_BART = "bartowski/openai_gpt-oss-20b-GGUF"
LLAMA = "bartowski/Meta-Llama-3.1-70B-Instruct-GGUF"
HUMAN = "mradermacher/Qwen3-Almost-Human-X1-6B-e32-GGUF"
LLAMA_MRAD = "mradermacher/Meta-Llama-3.1-70B-Instruct-GGUF"
SOLAR = "TheBloke/Nous-Hermes-2-SOLAR-10.7B-GGUF"
QWEN235 = "lmstudio-community/Qwen3-235B-A22B-Instruct-2507-GGUF"
GEMMA3_LMS = "lmstudio-community/gemma-3-12b-it-GGUF"
QWEN4_LMS = "lmstudio-community/Qwen3-4B-Instruct-2507-GGUF"
QWEN4_UNSLOTH = "unsloth/Qwen3-4B-Instruct-2507-GGUF"
LTX = "unsloth/LTX-2.3-GGUF"
QWEN397 = "unsloth/Qwen3.5-397B-A17B-GGUF"
GSQ = "ISTA-DASLab/Qwen3.8-27B-GSQ-RCO-GGUF"
BONSAI = "prism-ml/Ternary-Bonsai-27B-gguf"
MINICPM = "openbmb/MiniCPM-V-4-gguf"
QWEN25 = "Qwen/Qwen2.5-0.5B-Instruct-GGUF"
LAYLA = "l3utterfly/phi-2-layla-v1-chatml-gguf"

OSS_GGML_SET = shards("gpt-oss-120b-mxfp4-{:05}-of-00003.gguf", 3)
OSS_LMS_SET = shards("gpt-oss-120b-MXFP4-{:05}-of-00002.gguf", 2)
BF16_SET = shards("BF16/Qwen3.8-27B-BF16-{:05}-of-00002.gguf", 2)
Q235_SET = shards("Qwen3-235B-A22B-Instruct-2507-Q3_K_L-{:05}-of-00003.gguf", 3)
Q8_DIR = "Meta-Llama-3.1-70B-Instruct-Q8_0"
Q6L_DIR = "Meta-Llama-3.1-70B-Instruct-Q6_K_L"
Q6_DIR = "Meta-Llama-3.1-70B-Instruct-Q6_K"
Q5_DIR = "Meta-Llama-3.1-70B-Instruct-Q5_K_M"
IN_FOLDER = "{0}/{0}-{{:05}}-of-00002.gguf"

LLAMA_PARTS = [f"Meta-Llama-3.1-70B-Instruct.Q8_0.gguf.part{n}of2" for n in (1, 2)]

CASES: list[tuple[str, str | None, Expected]] = [
    # A tag after the label is another build of it.
    (GEMMA2, None, ["gemma-2-9b-it-Q4_K_M.gguf"]),
    (GEMMA2, "Q4_K_M", ["gemma-2-9b-it-Q4_K_M.gguf"]),
    (GEMMA2, "q4_k_m", ["gemma-2-9b-it-Q4_K_M.gguf"]),
    (GEMMA2, "Q4_K", ["gemma-2-9b-it-Q4_K_M.gguf"]),
    (GEMMA2, "Q4_K_M-fp16", ["gemma-2-9b-it-Q4_K_M-fp16.gguf"]),
    (GEMMA2, "q4_k_m-FP16", ["gemma-2-9b-it-Q4_K_M-fp16.gguf"]),
    (GEMMA2, "Q4_K_M-f16", ["gemma-2-9b-it-Q4_K_M-fp16.gguf"]),
    (GEMMA2, "gemma-2-9b-it-Q4_K_M-fp16.gguf", ["gemma-2-9b-it-Q4_K_M-fp16.gguf"]),
    (GEMMA2, "Q4_K_L", ["gemma-2-9b-it-Q4_K_L.gguf"]),
    (GEMMA2, "Q8_0", ["gemma-2-9b-it-Q8_0.gguf"]),
    (GEMMA2, "Q8_0-f16", ["gemma-2-9b-it-Q8_0-f16.gguf"]),
    (GEMMA2, "Q8_0_L", ["gemma-2-9b-it-Q8_0_L.gguf"]),
    (GEMMA2, "Q3_K_L", ["gemma-2-9b-it-Q3_K_L.gguf"]),
    (GEMMA2, "Q3_K_L-Q8", ["gemma-2-9b-it-Q3_K_L-Q8.gguf"]),
    (GEMMA2, "Q6_K", ["gemma-2-9b-it-Q6_K.gguf"]),
    (GEMMA2, "Q6_K-Q8", ["gemma-2-9b-it-Q6_K-Q8.gguf"]),
    (GEMMA2, "Q6_K-f32", ["gemma-2-9b-it-Q6_K-f32.gguf"]),
    (GEMMA2, "Q6_K_L", ["gemma-2-9b-it-Q6_K_L.gguf"]),
    (GEMMA2, "f32", ["gemma-2-9b-it-f32.gguf"]),
    (GEMMA2, "FP32", ["gemma-2-9b-it-f32.gguf"]),
    (GEMMA2, "F16", Miss("Q8_0_L")),  # `Q8_0-f16` and `Q4_K_M-fp16` are none
    (GEMMA2, "Q4_XS", Miss("IQ4_XS")),  # named, not taken
    (GEMMA2, "IQ4_XS", ["gemma-2-9b-it-IQ4_XS.gguf"]),
    (GEMMA2, "Q8", Miss("Q8_0")),  # the `-Q8` of a tag is none
    (GEMMA2, "Q4_K_XL", Miss("Q4_K_L")),
    (GEMMA2, "Q3_K", ["gemma-2-9b-it-Q3_K_M.gguf"]),
    (GEMMA2, "IQ3_S", Miss("IQ3_XS")),
    (GEMMA2, "gemma-2-9b-it-IQ2_M", ["gemma-2-9b-it-IQ2_M.gguf"]),
    (GEMMA2, "GEMMA-2-9B-IT-IQ2_M.GGUF", ["gemma-2-9b-it-IQ2_M.gguf"]),
    (GEMMA2, "it", Miss("F32")),
    # The projector comes along, F16 first, and never answers for a quantization.
    (GEMMA3, None, ["gemma-3-12b-it-Q4_K_M.gguf", "mmproj-F16.gguf"]),
    (GEMMA3, "Q4_0", ["gemma-3-12b-it-Q4_0.gguf", "mmproj-F16.gguf"]),
    (GEMMA3, "Q4_K_XL", ["gemma-3-12b-it-UD-Q4_K_XL.gguf", "mmproj-F16.gguf"]),
    (GEMMA3, "UD-Q4_K_XL", ["gemma-3-12b-it-UD-Q4_K_XL.gguf", "mmproj-F16.gguf"]),
    (GEMMA3, "ud-q4_k_xl", ["gemma-3-12b-it-UD-Q4_K_XL.gguf", "mmproj-F16.gguf"]),
    (GEMMA3, "IQ1_S", ["gemma-3-12b-it-UD-IQ1_S.gguf", "mmproj-F16.gguf"]),
    (GEMMA3, "BF16", ["gemma-3-12b-it-BF16.gguf", "mmproj-F16.gguf"]),
    (GEMMA3, "F16", Miss("BF16")),
    (GEMMA3, "F32", Miss("BF16")),
    (GEMMA3, "UD-Q4_K_M", Miss("Q4_K_M")),  # a prefix that was typed is meant
    (GEMMA3, "Q2_K_L", ["gemma-3-12b-it-Q2_K_L.gguf", "mmproj-F16.gguf"]),
    (GEMMA3, "Q2_K_XL", ["gemma-3-12b-it-UD-Q2_K_XL.gguf", "mmproj-F16.gguf"]),
    (GEMMA3, "Q4_XS", Miss("IQ4_XS")),
    (GEMMA3, "mmproj-BF16.gguf", Miss("BF16")),
    (GEMMA3, "mmproj-F32", Miss("BF16")),
    (GEMMA3_4B, "f16", ["gemma-3-4b-it-f16.gguf", "mmproj-model-f16.gguf"]),
    (GEMMA3_4B, "F16", ["gemma-3-4b-it-f16.gguf", "mmproj-model-f16.gguf"]),
    (GEMMA3_4B, "BF16", Miss("F16")),
    (GEMMA3_4B, None, ["gemma-3-4b-it-Q4_K_M.gguf", "mmproj-model-f16.gguf"]),
    (GEMMA3_4B, "q8_0", ["gemma-3-4b-it-Q8_0.gguf", "mmproj-model-f16.gguf"]),
    (GEMMA3_4B, "mmproj-model-f16.gguf", Miss("F16")),
    # Shards in a folder, a drafter in another, a matrix at the top.
    (QWEN38, None, ["Qwen3.8-27B-Q4_K_M.gguf", "mmproj-F16.gguf"]),
    (QWEN38, "BF16", [*BF16_SET, "mmproj-F16.gguf"]),
    (QWEN38, "bf16/", [*BF16_SET, "mmproj-F16.gguf"]),
    (QWEN38, "BF16/BF16", [*BF16_SET, "mmproj-F16.gguf"]),
    (QWEN38, BF16_SET[1], [*BF16_SET, "mmproj-F16.gguf"]),
    (QWEN38, "Qwen3.8-27B-BF16-00001-of-00002.gguf", [*BF16_SET, "mmproj-F16.gguf"]),
    (QWEN38, "F16", Miss("BF16")),
    (QWEN38, "Q4_K_XL", ["Qwen3.8-27B-UD-Q4_K_XL.gguf", "mmproj-F16.gguf"]),
    (QWEN38, "Q4_0", Miss("Q4_K_M")),
    (QWEN38, "MTP/", Miss("BF16")),
    (QWEN38, "MTP/mtp-Qwen3.8-27B-Q4_0.gguf", Miss("BF16")),
    (QWEN38, "imatrix_unsloth.gguf", Miss("BF16")),
    (QWEN38_GGML, "Q4_0", Miss("Q4_K_M")),
    (QWEN38_GGML, "mtp-Qwen3.8-27B-Q4_0.gguf", Miss("Q8_0")),
    (QWEN38_GGML, "Q8_0", ["Qwen3.8-27B-Q8_0.gguf", "mmproj-Qwen3.8-27B-Q8_0.gguf"]),
    (QWEN38_GGML, None, ["Qwen3.8-27B-Q4_K_M.gguf", "mmproj-Qwen3.8-27B-Q8_0.gguf"]),
    # One set and nothing else: it is the default whatever it is.
    (OSS_GGML, None, OSS_GGML_SET),
    (OSS_GGML, "mxfp4", OSS_GGML_SET),
    (OSS_GGML, "MXFP4", OSS_GGML_SET),
    (OSS_GGML, OSS_GGML_SET[2], OSS_GGML_SET),
    (OSS_GGML, "gpt-oss-120b-mxfp4", OSS_GGML_SET),
    (OSS_GGML, "Q4_K_M", Miss("MXFP4")),
    (OSS_LMS, None, OSS_LMS_SET),
    (OSS_LMS, "MXFP4", OSS_LMS_SET),
    (OSS_LMS, "MXFP4_MOE", OSS_LMS_SET),
    (OSS_LMS, "NVFP4", Miss("MXFP4")),
    (OSS_BART, None, ["openai_gpt-oss-20b-Q4_K_M.gguf"]),
    (OSS_BART, "MXFP4", ["openai_gpt-oss-20b-MXFP4.gguf"]),
    (OSS_BART, "Q8_0", Miss("Q6_K_L")),
    (OSS_BART, "Q4_0", ["openai_gpt-oss-20b-Q4_0.gguf"]),
    (OSS_BART, "Q4_1", ["openai_gpt-oss-20b-Q4_1.gguf"]),
    (OSS_BART, "IQ4_NL", ["openai_gpt-oss-20b-IQ4_NL.gguf"]),
    (OSS_BART, "Q5_K", ["openai_gpt-oss-20b-Q5_K_M.gguf"]),
    (OSS_BART, "gpt-oss-20b-Q4_K_M.gguf", Miss("Q6_K_L")),
    # A folder called like the whole file.
    (LLAMA, None, ["Meta-Llama-3.1-70B-Instruct-Q4_K_M.gguf"]),
    (LLAMA, "Q8_0", shards(IN_FOLDER.format(Q8_DIR), 2)),
    (LLAMA, "q6_k", shards(IN_FOLDER.format(Q6_DIR), 2)),
    (LLAMA, "Q6_K_L", shards(IN_FOLDER.format(Q6L_DIR), 2)),
    (LLAMA, "Q5_K", shards(IN_FOLDER.format(Q5_DIR), 2)),
    (LLAMA, f"{Q6L_DIR}/", shards(IN_FOLDER.format(Q6L_DIR), 2)),
    (LLAMA, Q6_DIR, shards(IN_FOLDER.format(Q6_DIR), 2)),
    (LLAMA, f"{Q8_DIR}-00002-of-00002.gguf", shards(IN_FOLDER.format(Q8_DIR), 2)),
    (LLAMA, "Q5_K_S", ["Meta-Llama-3.1-70B-Instruct-Q5_K_S.gguf"]),
    (LLAMA, "IQ1_M", ["Meta-Llama-3.1-70B-Instruct-IQ1_M.gguf"]),
    (LLAMA, "IQ1_S", Miss("IQ1_M")),
    (LLAMA, "Q1_0", Miss("IQ1_M")),
    (LLAMA, f"{Q8_DIR}/Q4_K_M", Miss("Q4_K_M")),
    # Dots, and an `e32` that is no float.
    (HUMAN, None, ["Qwen3-Almost-Human-X1-6B-e32.Q4_K_M.gguf"]),
    (HUMAN, "F16", ["Qwen3-Almost-Human-X1-6B-e32.f16.gguf"]),
    (HUMAN, "fp16", ["Qwen3-Almost-Human-X1-6B-e32.f16.gguf"]),
    (HUMAN, "BF16", Miss("F16")),
    (HUMAN, "F32", Miss("F16")),
    (HUMAN, "e32", Miss("F16")),
    (HUMAN, "IQ4_XS", ["Qwen3-Almost-Human-X1-6B-e32.IQ4_XS.gguf"]),
    (HUMAN, "Q4_XS", Miss("IQ4_XS")),
    # Cut at some byte: fetched in order, to be joined.
    (LLAMA_MRAD, None, ["Meta-Llama-3.1-70B-Instruct.Q4_K_M.gguf"]),
    (LLAMA_MRAD, "Q4_K_M", ["Meta-Llama-3.1-70B-Instruct.Q4_K_M.gguf"]),
    (LLAMA_MRAD, "Q8_0", LLAMA_PARTS),
    (LLAMA_MRAD, "Meta-Llama-3.1-70B-Instruct.Q8_0.gguf", LLAMA_PARTS),
    (LLAMA_MRAD, "Meta-Llama-3.1-70B-Instruct.Q8_0.gguf.part1of2", LLAMA_PARTS),
    (LLAMA_MRAD, "Q6_K", Miss("Q4_K_M")),
    (SOLAR, None, ["nous-hermes-2-solar-10.7b.Q4_K_M.gguf"]),
    (SOLAR, "Q5_0", ["nous-hermes-2-solar-10.7b.Q5_0.gguf"]),
    (SOLAR, "q2_k", ["nous-hermes-2-solar-10.7b.Q2_K.gguf"]),
    (SOLAR, "Q5_1", Miss("Q5_0")),
    (SOLAR, "nous-hermes-2-solar-10.7b.q6_k", ["nous-hermes-2-solar-10.7b.Q6_K.gguf"]),
    (SOLAR, "10.7b", Miss("Q8_0")),
    # Shards at the top.
    (QWEN235, None, Q235_SET),
    (QWEN235, "Q3_K_L", Q235_SET),
    (QWEN235, Q235_SET[1], Q235_SET),
    (QWEN235, "Q3_K", Miss("Q3_K_L")),
    (QWEN235, "Q3_K_M", Miss("Q3_K_L")),
    (GEMMA3_LMS, None, ["gemma-3-12b-it-Q4_K_M.gguf", "mmproj-model-f16.gguf"]),
    (GEMMA3_LMS, "Q6_K", ["gemma-3-12b-it-Q6_K.gguf", "mmproj-model-f16.gguf"]),
    (GEMMA3_LMS, "F16", Miss("Q8_0")),
    (QWEN4_LMS, None, ["Qwen3-4B-Instruct-2507-Q4_K_M.gguf"]),
    (QWEN4_LMS, "Q8_0", ["Qwen3-4B-Instruct-2507-Q8_0.gguf"]),
    (QWEN4_LMS, "2507", Miss("Q8_0")),
    (QWEN4_UNSLOTH, None, ["Qwen3-4B-Instruct-2507-Q4_K_M.gguf"]),
    (QWEN4_UNSLOTH, "Q8_0", Miss("Q4_K_M")),
    # One label in several folders: the top goes first; without one there is a tie.
    (LTX, None, ["ltx-2.3-22b-dev-Q4_K_M.gguf"]),
    (LTX, "Q4_K_M", ["ltx-2.3-22b-dev-Q4_K_M.gguf"]),
    (LTX, "UD-Q4_K_M", ["ltx-2.3-22b-dev-UD-Q4_K_M.gguf"]),
    (LTX, "Q8_0", ["ltx-2.3-22b-dev-Q8_0.gguf"]),
    (LTX, "distilled/Q8_0", ["distilled/ltx-2.3-22b-distilled-Q8_0.gguf"]),
    (LTX, "distilled/q4_k_m", ["distilled/ltx-2.3-22b-distilled-Q4_K_M.gguf"]),
    (LTX, "distilled", ["distilled/ltx-2.3-22b-distilled-Q4_K_M.gguf"]),
    (LTX, "distilled-1.1/", ["distilled-1.1/ltx-2.3-22b-distilled-1.1-Q4_K_M.gguf"]),
    (LTX, "distilled-1.1/Q8_0", Miss("Q8_0")),
    (LTX, "ltx-2.3-22b-distilled-Q8_0.gguf", ["distilled/ltx-2.3-22b-distilled-Q8_0.gguf"]),
    (LTX, "distilled/ltx-2.3-22b-dev-Q8_0.gguf", Miss("Q8_0")),
    (LTX, "Q6_K", Miss("Q8_0")),
    # A set that is not all there.
    (QWEN397, None, Lacks(5)),
    (QWEN397, "UD-Q4_K_XL", Lacks(5)),
    (QWEN397, "Q4_K_XL", Lacks(5)),
    (QWEN397, "UD-Q4_K_XL/", Lacks(5)),
    (QWEN397, "UD-Q4_K_XL/Qwen3.5-397B-A17B-UD-Q4_K_XL-00001-of-00006.gguf", Lacks(5)),
    (QWEN397, "F16", Miss("UD-Q4_K_XL")),
    (GSQ, None, tie("IQ3_S", "IQ3_S-mtp", "IQ3_XXS", "IQ3_XXS-mtp")),
    (GSQ, "IQ3_S", ["Qwen3.8-27B-GSQ-RCO-IQ3_S.gguf"]),
    (GSQ, "IQ3_S-mtp", ["Qwen3.8-27B-GSQ-RCO-IQ3_S-mtp.gguf"]),
    (GSQ, "iq3_xxs-MTP", ["Qwen3.8-27B-GSQ-RCO-IQ3_XXS-mtp.gguf"]),
    (GSQ, "IQ3_XS", Miss("IQ3_XXS")),
    (GSQ, "mtp", Miss("IQ3_S")),
    # A letter more is another label.
    (BONSAI, None, tie("F16", "Q2_0", "PQ2_0", "Q2_G64")),
    (BONSAI, "Q2_0", ["Ternary-Bonsai-27B-Q2_0.gguf", "Ternary-Bonsai-27B-mmproj-Q8_0.gguf"]),
    (BONSAI, "PQ2_0", ["Ternary-Bonsai-27B-PQ2_0.gguf", "Ternary-Bonsai-27B-mmproj-Q8_0.gguf"]),
    (BONSAI, "Q2_g64", ["Ternary-Bonsai-27B-Q2_g64.gguf", "Ternary-Bonsai-27B-mmproj-Q8_0.gguf"]),
    (BONSAI, "Q8_0", Miss("F16")),
    (BONSAI, "TQ2_0", Miss("PQ2_0")),
    (MINICPM, None, ["ggml-model-Q4_K_M.gguf", "mmproj-model-f16.gguf"]),
    (MINICPM, "f16", Miss("Q4_K_M")),
    (QWEN25, None, ["qwen2.5-0.5b-instruct-q4_k_m.gguf"]),
    (QWEN25, "F16", ["qwen2.5-0.5b-instruct-fp16.gguf"]),
    (QWEN25, "fp16", ["qwen2.5-0.5b-instruct-fp16.gguf"]),
    (QWEN25, "Q5_0", ["qwen2.5-0.5b-instruct-q5_0.gguf"]),
    (QWEN25, "Q2_K", ["qwen2.5-0.5b-instruct-q2_k.gguf"]),
    (QWEN25, "Q5_K_S", Miss("Q5_0")),
    # Q4_K and Q4_K_M are two names of one thing.
    (LAYLA, None, ["phi-2-layla-v1-chatml-Q4_K.gguf"]),
    (LAYLA, "Q4_K", ["phi-2-layla-v1-chatml-Q4_K.gguf"]),
    (LAYLA, "Q4_K_M", ["phi-2-layla-v1-chatml-Q4_K.gguf"]),
    (LAYLA, "Q4_K_S", Miss("Q4_K")),
    (LAYLA, "Q8_0", ["phi-2-layla-v1-chatml-Q8_0.gguf"]),
]


def outcome(files: list[RemoteFile], request: str | None) -> Expected:
    """Return what `choose` does, in the terms of the table."""
    try:
        return [file.path for file in choose(files, request).files]
    except QuantizationNotFound as error:
        return Miss(error.available[0].label)
    except AmbiguousQuantization as error:
        return tie(*(candidate.label for candidate in error.candidates))
    except IncompleteModel as error:
        return Lacks(len(error.missing))


def test_the_table_covers_all_listings() -> None:
    assert {repo for repo, _, _ in CASES} == set(LISTINGS)
    assert len(CASES) == len({(repo, request) for repo, request, _ in CASES}) >= 120


@pytest.mark.parametrize(("repo", "request_", "expected"), CASES)
def test_choice(repo: str, request_: str | None, expected: Expected) -> None:
    assert outcome(LISTINGS[repo], request_) == expected


@pytest.mark.parametrize("repo", LISTINGS)
def test_every_selector_gets_its_build(repo: str) -> None:
    for build in variants(LISTINGS[repo]):
        if not build.complete:
            with pytest.raises(ModelFetchError):
                choose(LISTINGS[repo], build.selector)
        else:
            chosen = choose(LISTINGS[repo], build.selector, include_mmproj=False)
            assert [file.path for file in chosen.files] == [file.path for file in build.files]


@pytest.mark.parametrize("repo", LISTINGS)
def test_the_order_of_a_listing_does_not_matter(repo: str) -> None:
    files = LISTINGS[repo]
    shuffled = random.Random(repo).sample(files, len(files))
    assert variants(shuffled) == variants(files)
    for request in (None, "Q4_K_M", "Q8_0", "F16"):
        assert outcome(shuffled, request) == outcome(files, request)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(IncompleteModel) as caught:
        choose(LISTINGS[QWEN397], None)
    pattern = "UD-Q4_K_XL/Qwen3.5-397B-A17B-UD-Q4_K_XL-{:05}-of-00006.gguf"
    assert list(caught.value.missing) == shards(pattern, 6)[1:]


def test_a_plan_keeps_what_the_hub_says_of_a_file() -> None:
    (file,) = choose(LISTINGS[QWEN4_LMS], "Q4_K_M").files
    assert file.size_bytes == 2497280448
    assert file.sha256 == "8cdb57cbb880d313736a9bc4e3d3d2485f145b5e19cf33783746e753e82641fc"
    assert file.role is FileRole.MODEL
