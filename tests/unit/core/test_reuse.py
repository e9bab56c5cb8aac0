"""Which tensors of an earlier file go where in the next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelfetch.core.reuse import SAMPLE_SIZE, SAMPLES, Copy, copies, samples
from modelfetch.core.tensors import Header, Tensor
from modelfetch.types import Span

I8, F32 = 24, 0


def head(start: int, *tensors: Tensor, alignment: int = 32) -> Header:
    return Header(3, False, {}, tensors, alignment, start)


A, B, C = Tensor("a", (64,), I8, 0), Tensor("b", (50,), I8, 64), Tensor("c", (8, 2), F32, 128)


def test_what_agrees_and_lies_together_is_one_copy() -> None:
    assert copies(head(320, A, B, C), 512, head(352, A, B, C), 544) == [Copy(320, Span(352, 544))]


def test_the_last_tensor_s_padding_may_be_missing_in_either() -> None:
    assert copies(head(320, A, B), 434, head(352, A, B), 480) == [Copy(320, Span(352, 466))]
    assert copies(head(320, A, B), 448, head(352, A, B), 466) == [Copy(320, Span(352, 466))]


def test_a_tensor_of_another_type_shape_or_name_is_left_out() -> None:
    for other in (
        Tensor("b", (50,), F32, 64),
        Tensor("b", (25, 2), I8, 64),
        Tensor("d", (50,), I8, 64),
        Tensor("b", (50,), 4000, 64),
    ):
        assert copies(head(320, A, B, C), 512, head(320, A, other, C), 512) == [
            Copy(320, Span(320, 384)),
            Copy(448, Span(448, 512)),
        ]
    unknown = Tensor("b", (50,), 4000, 64)
    assert len(copies(head(320, A, unknown, C), 512, head(320, A, unknown, C), 512)) == 2


def test_tensors_may_come_in_another_order() -> None:
    first, then = Tensor("b", (50,), I8, 0), Tensor("a", (64,), I8, 64)
    assert copies(head(320, A, B), 448, head(320, first, then), 448) == [
        Copy(384, Span(320, 384)),
        Copy(320, Span(384, 448)),
    ]


def test_of_two_alignments_the_smaller_padding_is_copied() -> None:
    spread = head(320, A, Tensor("b", (50,), I8, 64), alignment=64)
    assert copies(head(320, A, B), 448, spread, 1000) == [Copy(320, Span(320, 448))]


def test_nothing_comes_from_or_goes_beyond_the_end() -> None:
    assert copies(head(320, A), 320, head(320, A), 384) == []
    assert copies(head(320, A), 384, head(384, A), 384) == []
    far = Tensor("a", (64,), I8, 1 << 70)
    assert copies(head(320, far), 384, head(320, A), 384) == []
    assert copies(head(320, A), 384, head(320, far), 384) == []


tensors = st.builds(
    Tensor,
    st.sampled_from("abcd"),
    st.tuples(st.integers(0, 1 << 17)),
    st.sampled_from([I8, F32, 4000]),
    st.integers(0, 1 << 18),
)
heads = st.lists(tensors, max_size=5).flatmap(
    lambda found: st.builds(
        lambda start, alignment: head(start, *found, alignment=alignment),
        st.integers(0, 1000),
        st.sampled_from([1, 32, 64]),
    )
)
sizes = st.integers(0, 1 << 19)


@given(heads, sizes, heads, sizes)
def test_whatever_the_tables_say_the_copies_are_in_order_and_inside_both_files(
    old: Header, old_size: int, new: Header, new_size: int
) -> None:
    stop = new.data_start
    found = copies(old, old_size, new, new_size)
    for copy in found:
        assert stop <= copy.target.start < copy.target.stop <= new_size
        assert 0 <= copy.source <= copy.source + copy.target.size <= old_size
        stop = copy.target.stop
    probes = samples(found)
    assert len(probes) <= SAMPLES
    assert bool(probes) == bool(found)
    for probe in probes:
        assert 0 < probe.target.size <= SAMPLE_SIZE
        inside = [c for c in found if c.target.start <= probe.target.start < c.target.stop]
        assert probe.source - inside[0].source == probe.target.start - inside[0].target.start
        assert probe.target.stop <= inside[0].target.stop


def test_samples_are_spread_over_all_of_it() -> None:
    found = [Copy(0, Span(1000, 1000 + (1 << 20))), Copy(1 << 20, Span(1 << 22, 5 << 20))]
    starts = [probe.target.start for probe in samples(found)]
    assert len(starts) == SAMPLES
    assert len([start for start in starts if start < 1 << 22]) == SAMPLES // 2
