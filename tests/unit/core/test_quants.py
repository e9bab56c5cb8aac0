"""Choosing a build: the rules one by one, on listings as small as they can be."""

from __future__ import annotations

import pytest

from modelfetch.core.quants import Build, Choice, choose, combine, variants
from modelfetch.errors import (
    AmbiguousQuantization,
    IncompleteModel,
    InvalidReference,
    ModelNotFound,
    QuantizationNotFound,
)
from modelfetch.types import FileRole, PlannedFile, RemoteFile


def listing(*paths: str) -> list[RemoteFile]:
    return [RemoteFile(path, 1000 + n, f"{n:064x}") for n, path in enumerate(paths)]


def pick(request: str | None, *paths: str) -> Choice:
    return choose(listing(*paths), request)


def paths(choice: Choice) -> list[str]:
    return [file.path for file in choice.files]


def by_selector(*names: str) -> dict[str, Build]:
    return {build.selector: build for build in variants(listing(*names))}


class TestMatching:
    def test_exact_goes_before_prefix_before_alias_before_tag(self) -> None:
        offers = ["m-Q4_K.gguf", "m-UD-Q4_K.gguf", "m-Q4_K_M.gguf", "m-Q4_K-imat.gguf"]
        expected = [
            ("Q4_K", "Q4_K, as asked"),
            ("UD-Q4_K", "the only Q4_K is UD-Q4_K"),
            ("Q4_K_M", "Q4_K_M is another name of Q4_K"),
            ("Q4_K-imat", "the only Q4_K is Q4_K-imat"),
        ]
        for quantization, rule in expected:
            choice = pick("q4_k", *offers)
            assert (choice.quantization, choice.rule) == (quantization, rule)
            del offers[0]
        with pytest.raises(ModelNotFound):
            pick(None, *offers)

    def test_a_prefixed_alias(self) -> None:
        assert pick("Q4_K_M", "m-i1-Q4_K.gguf").quantization == "I1-Q4_K"
        assert pick("UD-Q4_K", "m-UD-Q4_K_M.gguf", "m-Q4_K.gguf").quantization == "UD-Q4_K_M"

    def test_a_prefixed_tag(self) -> None:
        assert pick("Q4_0", "m-UD-Q4_0-mtp.gguf").quantization == "UD-Q4_0-mtp"
        assert pick("UD-Q4_0", "m-UD-Q4_0-mtp.gguf").quantization == "UD-Q4_0-mtp"

    def test_a_tagged_alias(self) -> None:
        for request in ("Q4_K", "Q4_K_M"):
            choice = pick(request, "m-Q4_K_M-imat.gguf", "m-Q8_0.gguf")
            assert choice.quantization == "Q4_K_M-imat"

    def test_a_name_with_two_labels_is_neither_of_them(self) -> None:
        mixed = "m-MXFP4_MOE_Q8_0.gguf"
        assert paths(pick("Q8_0", mixed, "m-Q8_0.gguf")) == ["m-Q8_0.gguf"]
        assert paths(pick(None, mixed, "m-MXFP4_MOE.gguf")) == ["m-MXFP4_MOE.gguf"]
        assert pick("Q8_0", mixed).rule == "the only Q8_0 is MXFP4_MOE-Q8_0"
        assert paths(pick("mxfp4_moe-q8_0", mixed, "m-Q8_0.gguf")) == [mixed]
        assert pick("q6_k", "gemma-q4_0-unquantized.Q6_K.gguf").rule == "Q6_K, as asked"

    def test_a_whole_file_goes_before_its_shards(self) -> None:
        shards = ["m-Q4_0-00001-of-00002.gguf", "m-Q4_0-00002-of-00002.gguf"]
        for request in (None, "Q4_0"):
            assert paths(pick(request, *shards, "m-Q4_0.gguf")) == ["m-Q4_0.gguf"]
        assert paths(pick(shards[1], *shards, "m-Q4_0.gguf")) == shards

    def test_parts_at_the_top_go_before_another_model_in_a_folder(self) -> None:
        parts = ["big.Q8_0.gguf.part1of2", "big.Q8_0.gguf.part2of2"]
        for request in (None, "Q8_0"):
            assert paths(pick(request, *parts, "extra/tiny.Q8_0.gguf")) == parts

    def test_what_was_typed_is_meant(self) -> None:
        for request, offer in [
            ("UD-Q4_K_M", "m-Q4_K_M.gguf"),
            ("UD-Q4_K_M", "m-i1-Q4_K_M.gguf"),
            ("Q4_K_M-fp16", "m-Q4_K_M.gguf"),
            ("Q4_K_M-fp16", "m-Q4_K_M-mtp.gguf"),
            ("Q4_K_M", "m-Q4_K_L.gguf"),
            ("Q4_K_M", "m-Q4_K_S.gguf"),
            ("Q2_K", "m-Q2_K_L.gguf"),
            ("Q4_0", "m-Q4_0_4_4.gguf"),
            ("Q8_0", "m-Q8_0_L.gguf"),
            ("Q6_K", "m-Q6_K_L.gguf"),
            ("F16", "m-bf16.gguf"),
            ("Q4_XS", "m-IQ4_XS.gguf"),
            ("Q1_0", "m-TQ1_0.gguf"),
            ("Q2_0", "m-PQ2_0.gguf"),
            ("Q8", "m-Q8_0.gguf"),
            ("Q8_0", "m-q8.gguf"),
            ("F16", "m-Q8_0-f16.gguf"),
            ("Q8", "m-Q6_K-Q8.gguf"),
            ("K_M", "m-Q4_K_M.gguf"),
            ("M", "m-Q4_K_M.gguf"),
            ("4", "m-Q4_K_M.gguf"),
            ("m", "m-Q4_K_M.gguf"),
            ("Q4_0", "Q4_0/m-Q4_K_M.gguf"),
            ("Q8_0.gguf", "m-Q8_0.gguf"),
        ]:
            with pytest.raises(QuantizationNotFound) as caught:
                pick(request, offer)
            assert caught.value.requested == request
            assert len(caught.value.available) == 1

    def test_spellings(self) -> None:
        for request in ("Q4_K_M", " q4_k_m ", "Q4-K-M", "q4km", "Q4KM"):
            assert pick(request, "m-q4_k_m.gguf", "m-Q8_0.gguf").quantization == "Q4_K_M"
        assert pick("fp16", "m-F16.gguf").quantization == "F16"
        assert pick("Q4_K_M-F16", "m-Q4_K_M-fp16.gguf").quantization == "Q4_K_M-fp16"
        assert pick("MXFP4", "m-MXFP4_MOE.gguf").quantization == "MXFP4_MOE"

    def test_tie_of_prefixes(self) -> None:
        with pytest.raises(AmbiguousQuantization) as caught:
            pick("Q4_K_M", "m-UD-Q4_K_M.gguf", "m.i1-Q4_K_M.gguf")
        assert [c.label for c in caught.value.candidates] == ["I1-Q4_K_M", "UD-Q4_K_M"]

    def test_tie_of_tags(self) -> None:
        with pytest.raises(AmbiguousQuantization) as caught:
            pick("Q4_0", "m-Q4_0-a.gguf", "m-Q4_0-b.gguf")
        assert [c.label for c in caught.value.candidates] == ["Q4_0-a", "Q4_0-b"]

    def test_two_models_of_one_quantization_are_told_apart_by_file(self) -> None:
        with pytest.raises(AmbiguousQuantization) as caught:
            pick("q8_0", "a-Q8_0.gguf", "b-Q8_0.gguf", "c-Q4_0.gguf")
        assert caught.value.requested == "q8_0"
        assert [c.label for c in caught.value.candidates] == ["a-Q8_0.gguf", "b-Q8_0.gguf"]
        assert [c.size_bytes for c in caught.value.candidates] == [1000, 1001]

    def test_a_single_file_and_a_set_of_it_are_two_builds(self) -> None:
        with pytest.raises(AmbiguousQuantization):
            pick("Q8_0", "m-Q8_0.gguf", "m-Q8_0-00001-of-00001.gguf")

    def test_the_top_goes_before_the_quantizations_folder_before_others(self) -> None:
        offers = ["m-Q8_0.gguf", "Q8_0/m-Q8_0.gguf", "other/x-Q8_0.gguf"]
        for offer in list(offers):
            assert paths(pick("Q8_0", *offers)) == [offer]
            offers.remove(offer)
        assert (
            "ahead of those in other folders" in pick("Q8_0", "m-Q8_0.gguf", "a/m-Q8_0.gguf").rule
        )

    def test_two_folders_are_a_tie(self) -> None:
        with pytest.raises(AmbiguousQuantization) as caught:
            pick("Q8_0", "high/m-Q8_0.gguf", "low/m-Q8_0.gguf")
        labels = [candidate.label for candidate in caught.value.candidates]
        assert labels == ["high/m-Q8_0.gguf", "low/m-Q8_0.gguf"]

    def test_nothing_found_lists_all_nearest_first(self) -> None:
        with pytest.raises(QuantizationNotFound) as caught:
            pick("Q4_K_M", "m-F16.gguf", "m-Q8_0.gguf", "m-Q4_K_S.gguf", "m.gguf", "m-Q5_K_M.gguf")
        labels = [variant.label for variant in caught.value.available]
        assert labels == ["Q4_K_S", "Q5_K_M", "Q8_0", "F16", "m.gguf"]
        assert caught.value.available[0].size_bytes == 1002

    def test_what_cannot_be_had_is_listed_last(self) -> None:
        with pytest.raises(QuantizationNotFound) as caught:
            pick("Q6_K", "m-F16.gguf", "m-Q6_K_L-00001-of-00002.gguf", "m-Q8_0.gguf.part1of2")
        labels = [variant.label for variant in caught.value.available]
        assert labels == ["F16", "Q6_K_L", "Q8_0"]


class TestFilesAndFolders:
    SET = ("BF16/M-BF16-00001-of-00002.gguf", "BF16/M-BF16-00002-of-00002.gguf")
    OFFERS = (*SET, "M-Q8_0.gguf", "alt/M-Q8_0.gguf", "alt/M-Q4_K_M.gguf", "M-mmproj.gguf")

    @pytest.mark.parametrize(
        ("request_", "expected"),
        [
            ("M-Q8_0.gguf", ["M-Q8_0.gguf"]),
            ("./M-Q8_0.gguf", ["M-Q8_0.gguf"]),
            ("m-q8_0", ["M-Q8_0.gguf"]),
            ("alt/M-Q8_0.gguf", ["alt/M-Q8_0.gguf"]),
            ("alt/m-q8_0", ["alt/M-Q8_0.gguf"]),
            ("M-Q4_K_M", ["alt/M-Q4_K_M.gguf"]),
            (SET[1], list(SET)),
            ("M-BF16-00001-of-00002.gguf", list(SET)),
            ("M-BF16-00002-of-00002", list(SET)),
            ("M-BF16", list(SET)),
            ("BF16/M-BF16", list(SET)),
            ("BF16/", list(SET)),
            ("bf16/bf16", list(SET)),
            ("alt", ["alt/M-Q4_K_M.gguf"]),
            ("alt/", ["alt/M-Q4_K_M.gguf"]),
            ("./alt/", ["alt/M-Q4_K_M.gguf"]),
            ("ALT/q8_0", ["alt/M-Q8_0.gguf"]),
        ],
    )
    def test_found(self, request_: str, expected: list[str]) -> None:
        assert paths(choose(listing(*self.OFFERS), request_, include_mmproj=False)) == expected

    @pytest.mark.parametrize(
        "request_",
        ["x.gguf", "alt/x.gguf", "alt/BF16", "BF16/Q8_0", "al", "al/", "/", "BF16/M", "M", "Q8_0/"],
    )
    def test_missed(self, request_: str) -> None:
        with pytest.raises(QuantizationNotFound):
            pick(request_, *self.OFFERS)

    def test_a_sidecar_by_name_is_named_for_what_it_is(self) -> None:
        with pytest.raises(QuantizationNotFound, match="a multimodal projector, not a model"):
            pick("M-mmproj.gguf", *self.OFFERS)
        with pytest.raises(QuantizationNotFound, match="a drafter for speculative decoding"):
            pick("mtp-Q8_0", "mtp-Q8_0.gguf", "m-Q8_0.gguf")

    def test_a_path_that_looks_like_something_else(self) -> None:
        assert paths(pick(" a.gguf", " a.gguf", "a.gguf")) == [" a.gguf"]
        assert paths(pick("Q8_0.gguf", "Q8_0.gguf", "m-Q8_0.gguf")) == ["Q8_0.gguf"]
        assert paths(pick("A.gguf", "a.gguf", "A.gguf")) == ["A.gguf"]
        with pytest.raises(AmbiguousQuantization):
            pick("a.GGUF", "a.gguf", "A.gguf")

    def test_a_folder_with_no_default_is_a_tie(self) -> None:
        with pytest.raises(AmbiguousQuantization):
            pick("alt", "alt/m-Q2_K.gguf", "alt/m-Q3_K_M.gguf", "m-Q4_K_M.gguf")

    def test_labels_of_ones_own_are_found_by_the_end_of_the_name(self) -> None:
        offers = ["M-APEX-I-Quality.gguf", "M-APEX-Quality.gguf", "M-kquant-dynamic.gguf"]
        assert paths(pick("apex-i-quality", *offers)) == offers[:1]
        assert paths(pick("kquant-dynamic", *offers)) == offers[2:]
        assert pick("kquant-dynamic", *offers).quantization is None
        with pytest.raises(AmbiguousQuantization) as caught:
            pick("Quality", *offers)
        assert [c.label for c in caught.value.candidates] == offers[:2]
        with pytest.raises(QuantizationNotFound):
            pick("uality", *offers)
        with pytest.raises(QuantizationNotFound):
            pick("-dynamic", *offers)


class TestDefault:
    @pytest.mark.parametrize(
        ("offers", "quantization", "rule"),
        [
            (["Q4_K_M", "UD-Q4_K_XL", "Q8_0"], "Q4_K_M", "Q4_K_M is the default"),
            (["UD-Q4_K_XL", "Q4_K_S", "Q8_0"], "UD-Q4_K_XL", "UD-Q4_K_XL is the default"),
            (["Q4_K_S", "IQ4_XS", "Q8_0"], "Q4_K_S", "Q4_K_S is the default"),
            (["IQ4_XS", "IQ4_NL", "Q8_0"], "IQ4_XS", "IQ4_XS is the default"),
            (["IQ4_NL", "Q8_0", "F16"], "IQ4_NL", "IQ4_NL is the default"),
            (["Q8_0", "F16", "MXFP4"], "Q8_0", "Q8_0 is the default"),
            (["F16"], "F16", "there is only one model"),
            (["F16", "MXFP4"], "MXFP4", "MXFP4 is the default"),
            (["i1-Q4_K_M", "i1-Q6_K"], "I1-Q4_K_M", "default (the only Q4_K_M is I1-Q4_K_M)"),
            (["Q4_K", "Q8_0"], "Q4_K", "default (Q4_K is another name of Q4_K_M)"),
            (["Q4_K_M-imat", "Q8_0-imat"], "Q4_K_M-imat", "(the only Q4_K_M is Q4_K_M-imat)"),
        ],
    )
    def test_order(self, offers: list[str], quantization: str, rule: str) -> None:
        files = listing(*(f"m-{offer}.gguf" for offer in offers))
        for request in (None, "", "  "):
            choice = choose(files, request)
            assert choice.quantization == quantization
            assert rule in choice.rule

    def test_another_model_in_a_folder_is_no_default(self) -> None:
        assert paths(pick(None, "dev-Q8_0.gguf", "fast/fast-Q4_K_M.gguf")) == ["dev-Q8_0.gguf"]
        assert paths(pick(None, "dev-Q8_0.gguf", "a/dev-Q4_K_M.gguf")) == ["a/dev-Q4_K_M.gguf"]
        choice = pick(None, "a/dev-Q8_0.gguf", "b/fast-Q4_K_M.gguf")
        assert paths(choice) == ["b/fast-Q4_K_M.gguf"]
        assert "in the folder b" in choice.rule

    def test_none_of_them(self) -> None:
        with pytest.raises(AmbiguousQuantization) as caught:
            pick(None, "m-Q2_K.gguf", "m-F16.gguf", "m-Q6_K.gguf")
        assert caught.value.requested is None
        assert [c.label for c in caught.value.candidates] == ["F16", "Q6_K", "Q2_K"]
        assert "None of the repository's 3 models is a default" in caught.value.message

    def test_two_models_have_the_default(self) -> None:
        with pytest.raises(AmbiguousQuantization, match="2 models that are Q4_K_M"):
            pick(None, "a-Q4_K_M.gguf", "b-Q4_K_M.gguf", "a-Q8_0.gguf")
        with pytest.raises(AmbiguousQuantization, match="2 models that are unlabelled"):
            pick(None, "a.gguf", "b.gguf")

    def test_a_file_without_any_label(self) -> None:
        choice = pick(None, "model.gguf", "README.md")
        assert (choice.quantization, paths(choice)) == (None, ["model.gguf"])

    def test_an_incomplete_default_is_not_replaced(self) -> None:
        with pytest.raises(IncompleteModel):
            pick(None, "m-Q4_K_M-00001-of-00002.gguf", "m-Q8_0.gguf")

    def test_pieces_to_be_joined_are_no_default(self) -> None:
        offers = ["m-Q4_K_M.gguf.part1of2", "m-Q4_K_M.gguf.part2of2", "m-Q6_K.gguf"]
        assert pick(None, *offers).quantization == "Q6_K"
        choice = pick(None, *offers[:2])
        assert (choice.quantization, choice.joined_path) == ("Q4_K_M", "m-Q4_K_M.gguf")


class TestRefusals:
    def test_incomplete(self) -> None:
        with pytest.raises(IncompleteModel) as caught:
            pick("Q8_0", *(f"a/m-Q8_0-{n:05}-of-00009.gguf" for n in (2, 4)))
        missing = [f"a/m-Q8_0-{n:05}-of-00009.gguf" for n in (1, 3, 5, 6, 7, 8, 9)]
        assert list(caught.value.missing) == missing
        assert "lacks 7 of the 9 files of Q8_0" in caught.value.message
        assert missing[3] not in caught.value.message

    def test_byte_split(self) -> None:
        offers = ["a/m.Q8_0.gguf.part2of2", "a/m.Q8_0.gguf.part1of2", "m.Q4_0.gguf"]
        choice = pick("q8_0", *offers)
        assert paths(choice) == ["a/m.Q8_0.gguf.part1of2", "a/m.Q8_0.gguf.part2of2"]
        assert {file.role for file in choice.files} == {FileRole.BYTE_PART}
        assert choice.joined_path == "a/m.Q8_0.gguf"
        assert choice.rule.endswith("joined from 2 parts")
        with pytest.raises(IncompleteModel, match="lacks 1 of the 2 files"):
            pick("q8_0", *offers[1:])

    def test_the_same_build_whole_spares_the_joining(self) -> None:
        offers = ["m.Q8_0.gguf.part1of2", "m.Q8_0.gguf.part2of2", "m.Q8_0.gguf"]
        choice = pick("Q8_0", *offers)
        assert (paths(choice), choice.joined_path) == (["m.Q8_0.gguf"], None)

    def test_no_model_at_all(self) -> None:
        with pytest.raises(ModelNotFound, match="no GGUF files"):
            pick(None, "README.md", "model.safetensors")
        with pytest.raises(ModelNotFound, match=r"mmproj-F16\.gguf is a multimodal projector"):
            pick(None, "mmproj-F16.gguf")
        with pytest.raises(QuantizationNotFound) as caught:
            pick("Q8_0", "mtp-m-Q8_0.gguf")
        assert caught.value.available == ()
        with pytest.raises(QuantizationNotFound):
            pick("Q8_0")


class TestProjector:
    @pytest.mark.parametrize(
        ("model", "others", "expected"),
        [
            ("m-Q8_0.gguf", ["mmproj-BF16", "mmproj-F16", "mmproj-F32"], "mmproj-F16.gguf"),
            ("m-Q8_0.gguf", ["mmproj-Q8_0", "mmproj-F32", "mmproj-BF16"], "mmproj-BF16.gguf"),
            ("m-Q8_0.gguf", ["mmproj-Q8_0", "mmproj-F32"], "mmproj-F32.gguf"),
            ("m-Q8_0.gguf", ["mmproj-Q4_0", "mmproj-Q8_0"], "mmproj-Q8_0.gguf"),
            ("m-Q8_0.gguf", ["mmproj-Q4_0", "mmproj"], "mmproj-Q4_0.gguf"),
            ("m-Q8_0.gguf", ["mmproj-m-Q8_0", "mmproj-F16"], "mmproj-m-Q8_0.gguf"),
            ("m-Q8_0.gguf", ["M-mmproj", "mmproj-F16"], "M-mmproj.gguf"),
            ("a/m-Q8_0.gguf", ["mmproj-F16", "a/mmproj-Q8_0"], "a/mmproj-Q8_0.gguf"),
            ("a/m-Q8_0.gguf", ["mmproj-F16", "b/mmproj-F16"], "mmproj-F16.gguf"),
            ("a/b/m-Q8_0.gguf", ["mmproj-F16", "a/mmproj-Q8_0"], "a/mmproj-Q8_0.gguf"),
            ("m-Q8_0.gguf", ["mmproj/mmproj-F16"], "mmproj/mmproj-F16.gguf"),
            ("m-Q8_0.gguf", ["F16/mmproj-F16"], "F16/mmproj-F16.gguf"),
            ("m-Q8_0.gguf", ["b/mmproj-F16"], None),
            ("ab/m-Q8_0.gguf", ["a/mmproj-F16"], None),
            ("m-Q8_0.gguf", ["n-Q8_0", "mmproj-n-F16"], None),
            ("m-Q8_0.gguf", ["n-Q8_0", "mmproj-n-F16", "mmproj-Q8_0"], "mmproj-Q8_0.gguf"),
            ("m-Q8_0.gguf", ["model-Q8_0", "mmproj-model-f16"], "mmproj-model-f16.gguf"),
            ("m-Q8_0.gguf", ["mmproj-F16-00001-of-00002", "mmproj-F16-be"], None),
        ],
    )
    def test_which(self, model: str, others: list[str], expected: str | None) -> None:
        choice = pick(model, model, *(f"{other}.gguf" for other in others))
        assert paths(choice) == [model, *([expected] if expected else [])]

    def test_it_can_be_left_out(self) -> None:
        files = listing("m-Q8_0.gguf", "mmproj-F16.gguf")
        assert paths(choose(files, None, include_mmproj=False)) == ["m-Q8_0.gguf"]

    def test_roles_and_facts_are_kept(self) -> None:
        file = RemoteFile("m-Q8_0.gguf", 5, "a" * 64, "b" * 40)
        choice = choose([file, *listing("mmproj-F16.gguf")], "Q8_0")
        assert choice.files[0] == PlannedFile("m-Q8_0.gguf", 5, "a" * 64, "b" * 40)
        assert [planned.role for planned in choice.files] == [FileRole.MODEL, FileRole.MMPROJ]


class TestVariants:
    def test_one_of_each_kind(self) -> None:
        found = by_selector(
            "m-Q4_K_M.gguf",
            "m-UD-Q4_K_XL.gguf",
            "m-Q4_K_M-fp16.gguf",
            "b/m-Q6_K-00002-of-00002.gguf",
            "b/m-Q6_K-00001-of-00002.gguf",
            "m-Q8_0.gguf.part1of3",
            "m.gguf",
            "mmproj-F16.gguf",
        )
        assert list(found) == ["Q8_0", "Q6_K", "UD-Q4_K_XL", "Q4_K_M", "Q4_K_M-fp16", "m.gguf"]
        q8, q6 = found["Q8_0"], found["Q6_K"]
        assert (q8.byte_split, q8.complete) == (True, False)
        assert q8.missing == ("m-Q8_0.gguf.part2of3", "m-Q8_0.gguf.part3of3")
        assert [file.path[-19:-14] for file in q6.files] == ["00001", "00002"]
        assert (q6.complete, q6.missing, q6.size_bytes) == (True, (), 1003 + 1004)
        assert found["UD-Q4_K_XL"].prefix == "UD"
        assert found["Q4_K_M-fp16"].tag == "fp16"
        assert found["m.gguf"].label is None
        assert found["Q4_K_M"].variant.size_bytes == 1000

    def test_a_selector_is_a_path_where_the_label_is_not_enough(self) -> None:
        assert set(by_selector("a-Q8_0.gguf", "b-Q8_0.gguf")) == {"a-Q8_0.gguf", "b-Q8_0.gguf"}
        assert set(by_selector("a-Q8_0.gguf", "b/b-Q8_0.gguf")) == {"Q8_0", "b/b-Q8_0.gguf"}
        assert set(by_selector("a-Q4_0-fp16.gguf", "a-Q4_0-f16.gguf")) == {
            "a-Q4_0-f16.gguf",
            "a-Q4_0-fp16.gguf",
        }

    @pytest.mark.parametrize(
        ("names", "missing"),
        [
            (["m.gguf.a", "m.gguf.b", "m.gguf.d"], ["m.gguf.c"]),
            (["m.gguf.aa", "m.gguf.ac"], ["m.gguf.ab"]),
            (["m.gguf.000", "m.gguf.002"], ["m.gguf.001"]),
            (["m.gguf.000", "m.gguf.001"], []),
            (["m.gguf.part2of2"], ["m.gguf.part1of2"]),
            (["m.gguf.part1of12"], [f"m.gguf.part{n}of12" for n in range(2, 13)]),
            (["m-001-of-003.gguf", "m-003-of-003.gguf"], ["m-002-of-003.gguf"]),
        ],
    )
    def test_what_is_missing_is_named_as_its_neighbours(
        self, names: list[str], missing: list[str]
    ) -> None:
        (build,) = variants(listing(*names))
        assert list(build.missing) == missing
        assert build.complete == (not missing)

    def test_a_path_listed_twice_counts_once(self) -> None:
        (build,) = variants(listing("m-Q8_0.gguf", "m-Q8_0.gguf"))
        assert len(build.files) == 1
        (build,) = variants(listing("m-01-of-02.gguf", "m-1-of-02.gguf", "m-2-of-02.gguf"))
        assert build.complete
        assert len(build.files) == 2


@pytest.mark.parametrize(
    ("file", "quantization", "request_"),
    [
        (None, None, None),
        (None, "Q8_0", "Q8_0"),
        ("a/m-Q8_0.gguf", None, "a/m-Q8_0.gguf"),
        ("a/m-Q8_0.gguf", "q8_0", "a/m-Q8_0.gguf"),
        ("BF16", None, "BF16/"),
        ("BF16", "Q8_0", "BF16/Q8_0"),
    ],
)
def test_combine(file: str | None, quantization: str | None, request_: str | None) -> None:
    assert combine(file, quantization) == request_


@pytest.mark.parametrize(("file", "quantization"), [("m-Q8_0.gguf", "Q4_0"), ("m.gguf", "x")])
def test_a_file_that_is_not_the_quantization(file: str, quantization: str) -> None:
    with pytest.raises(InvalidReference, match=f"not {quantization}"):
        combine(file, quantization)


@pytest.mark.parametrize(
    "names",
    [
        [f"d{n % 7}/Model-{n}-UD-Q4_K_XL.gguf" for n in range(10_000)],
        [f"M-Q4_0-{n:05}-of-10000.gguf" for n in range(1, 10_001)],
        [f"file-{n}.safetensors" for n in range(10_000)],
    ],
    ids=["models", "shards", "others"],
)
@pytest.mark.timeout(20)  # takes 0.1 s; n² would take minutes
def test_ten_thousand_files(names: list[str]) -> None:
    files = listing(*names, "x-Q8_0.gguf", "mmproj-F16.gguf")
    assert paths(choose(files, "Q8_0")) == ["x-Q8_0.gguf", "mmproj-F16.gguf"]


@pytest.mark.timeout(20)
def test_a_hostile_count_costs_nothing_unless_asked_for() -> None:
    files = listing(*(f"m{n}-Q4_0-00001-of-99999.gguf" for n in range(1000)), "m-Q8_0.gguf")
    assert choose(files, "Q8_0").quantization == "Q8_0"
    with pytest.raises(QuantizationNotFound):
        choose(files, "Q6_K")
    with pytest.raises(IncompleteModel) as caught:
        choose(files, "m0-Q4_0")
    assert len(caught.value.missing) == 99_998
    assert len(caught.value.message) < 400
