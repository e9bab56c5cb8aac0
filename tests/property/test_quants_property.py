"""Repositories as publishers could name them: any mix of conventions, and any request.

Each repository is built from builds and side files whose nature is known by construction, so that
the properties do not lean on the code's own reading of names.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from modelfetch.core.quants import choose, variants
from modelfetch.errors import IncompleteModel, ModelFetchError
from modelfetch.types import FileRole, RemoteFile

LABELS = [
    "Q2_K",
    "Q2_K_L",
    "Q3_K",
    "Q3_K_M",
    "Q4_0",
    "Q4_0_4_4",
    "Q4_1",
    "Q4_K",
    "Q4_K_S",
    "Q4_K_M",
    "Q4_K_L",
    "Q4_K_XL",
    "Q5_K_M",
    "Q6_K",
    "Q6_K_L",
    "Q8_0",
    "Q8_0_L",
    "Q8_K_P",
    "IQ1_S",
    "IQ2_XXS",
    "IQ3_M",
    "IQ4_NL",
    "IQ4_XS",
    "IQ4_KSS",
    "TQ1_0",
    "PQ2_0",
    "Q2_0",
    "Q2_g64",
    "Q1_0",
    "MXFP4",
    "MXFP4_MOE",
    "NVFP4",
    "BF16",
    "F16",
    "fp16",
    "F32",
    "Q4KM",
    "Q8",
]
BASES = [
    "Model",
    "gemma-3-12b-it",
    "Qwen3-30B-A3B",
    "openai_gpt-oss",
    "Q3-30B",
    "x.f16.gguf",
    "e32",
]
PREFIXES = ["", "", "", "UD-", "i1-", "smol-"]
TAGS = [
    "",
    "",
    "",
    "",
    "-fp16",
    "-f32",
    "-Q8",
    "-imat",
    "-mtp",
    "-3.57bpw",
    "-it",
    "_v2",
    "-imatrix2",
]
FOLDERS = ["", "", "", "{label}/", "{stem}/", "distilled/", "a/b/", "Q8_0/"]
SIDECARS = [
    "mmproj-{label}.gguf", "mmproj-model-{label}.gguf", "mmproj-{base}-{label}.gguf",
    "{base}-mmproj-{label}.gguf", "{base}-mmproj.gguf", "mmproj/{base}-{label}.gguf",
    "mtp-{base}-{label}.gguf", "MTP/{base}-{label}.gguf", "dflash-{base}-{label}.gguf",
    "{base}-eagle3-{label}.gguf", "imatrix.gguf", "imatrix_unsloth.gguf", "{base}.imatrix.gguf",
    "imatrix-{base}-{label}.gguf", "{base}-F16-LoRA.gguf", "lora/{base}-{label}.gguf",
    "{base}.lora.gguf", "tokenizer.gguf", "ggml-vocab-{base}.gguf", "{base}-be.{label}.gguf",
    "{base}-{label}-be.gguf", "._{base}-{label}.gguf", "{base}-{label}.gguf.sha256",
    "{base}-{label}.gguf.md", "README.md", "{label}/config.json", "imatrix.dat", "{base}.{label}",
    "{base}-{label}-00005-of-00003.gguf",
]  # fmt: skip
SHARDS = ["-{i:05}-of-{n:05}.gguf", "-split-{i:05}-of-{n:05}.gguf", "-{i:03}-of-{n:03}.gguf",
          ".gguf-{i:05}-of-{n:05}.gguf"]  # fmt: skip
PARTS = [".gguf.part{i}of{n}", "-chunk-{i:03}-of-{n:03}.gguf", ".gguf-split-{c}", ".gguf.{c}"]


@dataclass(frozen=True)
class Made:
    """A build by construction."""

    paths: tuple[str, ...]
    complete: bool = True
    byte_split: bool = False


@dataclass(frozen=True)
class Repo:
    builds: tuple[Made, ...]
    sidecars: tuple[str, ...]

    @property
    def files(self) -> list[RemoteFile]:
        paths = [p for build in self.builds for p in build.paths]
        return [RemoteFile(path, 1, None) for path in (*paths, *self.sidecars)]


@st.composite
def builds(draw: st.DrawFn) -> Made:
    label = draw(st.sampled_from(LABELS))
    label = draw(st.sampled_from([label, label.lower()]))
    token = draw(st.sampled_from("-._")) + draw(st.sampled_from(PREFIXES)) + label
    stem = draw(st.sampled_from(BASES)) + draw(st.sampled_from([token, token, token, ""]))
    # `Model-imat` says of an unknown file only that it is about importance matrices.
    stem += draw(st.sampled_from(TAGS if label in stem else ["", "-v2", "-APEX-I-Quality"]))
    stem = draw(st.sampled_from(FOLDERS)).format(label=label, stem=stem) + stem
    count = draw(st.integers(1, 4))
    form = draw(st.sampled_from([".gguf", ".gguf", ".gguf", *SHARDS, *PARTS]))
    if form == ".gguf":
        return Made((stem + form,))
    count += form in PARTS
    paths = [stem + form.format(i=i, n=count, c=chr(96 + i)) for i in range(1, count + 1)]
    if form in PARTS:
        return Made(tuple(paths), byte_split=True)
    if draw(st.integers(0, 5)) == 0 and count > 1:
        del paths[draw(st.integers(0, count - 1))]
        return Made(tuple(paths), complete=False)
    return Made(tuple(paths))


@st.composite
def repos(draw: st.DrawFn) -> Repo:
    made: dict[str, Made] = {}
    taken: set[str] = set()
    for build in draw(st.lists(builds(), max_size=8)):
        # Two sets that differ in what is missing only would be one set on the Hub.
        key = build.paths[0].rpartition("-of-")[0][:-6] + build.paths[0].rpartition("-of-")[2]
        if key not in made and taken.isdisjoint(build.paths):
            made[key] = build
            taken.update(build.paths)
    base, label = st.sampled_from(BASES), st.sampled_from(LABELS)
    forms = draw(st.lists(st.tuples(st.sampled_from(SIDECARS), base, label), max_size=6))
    sidecars = {form.format(base=b, label=q) for form, b, q in forms} - taken
    return Repo(tuple(made.values()), tuple(sorted(sidecars)))


def requests(repo: Repo) -> st.SearchStrategy[str | None]:
    paths = [file.path for file in repo.files] or ["x"]
    labels = st.builds(
        "{}{}{}".format, st.sampled_from(PREFIXES), st.sampled_from(LABELS), st.sampled_from(TAGS)
    )
    parts = st.sampled_from(paths).flatmap(lambda p: st.sampled_from([p, *p.split("/")]))
    folders = st.sampled_from(paths).map(lambda p: p.rpartition("/")[0] + "/")
    below = st.builds("{}{}".format, folders, labels)
    odd = st.sampled_from(["", " ", "/", "..", ".gguf", "gguf", "GGUF", "mmproj", "it", "K_M", "M"])
    return st.none() | labels | labels.map(str.lower) | parts | folders | below | odd | st.text()


@settings(max_examples=200)
@given(repos())
def test_every_build_has_a_selector_that_gets_exactly_it(repo: Repo) -> None:
    found = {tuple(f.path for f in build.files): build for build in variants(repo.files)}
    assert set(found) == {tuple(build.paths) for build in repo.builds}
    for made in repo.builds:
        build = found[tuple(made.paths)]
        assert build.byte_split == made.byte_split
        assert build.complete == made.complete
        assert len(build.missing) == (0 if made.complete else 1)
        try:
            choice = choose(repo.files, build.selector, include_mmproj=False)
        except IncompleteModel as error:
            assert not made.complete
            assert error.missing == build.missing
        else:
            assert tuple(file.path for file in choice.files) == tuple(made.paths)
            assert made.complete
            assert (choice.joined_path is not None) == made.byte_split
    selectors = [build.selector for build in found.values()]
    assert len(set(selectors)) == len(selectors)


@settings(max_examples=400)
@given(st.data())
def test_no_request_gets_anything_but_one_whole_build(data: st.DataObject) -> None:
    repo = data.draw(repos())
    request = data.draw(requests(repo))
    try:
        choice = choose(repo.files, request)
    except ModelFetchError:
        return
    kinds = (FileRole.MODEL, FileRole.BYTE_PART)
    model = tuple(file.path for file in choice.files if file.role in kinds)
    whole = {tuple(b.paths): b.byte_split for b in repo.builds if b.complete}
    assert model in whole
    assert (choice.joined_path is not None) == whole[model]
    rest = choice.files[len(model) :]
    assert len(rest) <= 1
    for file in rest:
        assert file.role is FileRole.MMPROJ
        assert "mmproj" in file.path
        assert file.path in repo.sidecars


@settings(max_examples=100)
@given(st.data(), st.randoms(use_true_random=False))
def test_the_order_of_the_listing_does_not_matter(data: st.DataObject, rng: random.Random) -> None:
    repo = data.draw(repos())
    request = data.draw(requests(repo))
    shuffled = rng.sample(repo.files, len(repo.files))
    assert variants(shuffled) == variants(repo.files)
    assert outcome(shuffled, request) == outcome(repo.files, request)


def outcome(files: list[RemoteFile], request: str | None) -> object:
    try:
        return choose(files, request)
    except ModelFetchError as error:
        return type(error), str(error)
