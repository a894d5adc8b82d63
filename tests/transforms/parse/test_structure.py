"""Brackets and commas of any text are found the same way compiled and not; and a batch that is no JSON is taken apart by them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import Rejected
from transforms.parse import structure
from transforms.parse.decode import elements, is_deep
from transforms.parse.nesting import edges

texts = st.lists(st.sampled_from([b"[", b"]", b"{", b"}", b",", b'"', b"\\", b'\\"', b"a", b" ", b'"x"', b":1"]), max_size=40).map(b"".join)


@given(texts, st.integers(1, 4), st.booleans(), st.integers(0, 20))
def test_compiled_and_not_they_are_the_same(raw: bytes, level: int, commas: bool, most: int) -> None:
    assert edges(raw, level, commas, most) == structure.edges(raw, level, commas, most)


def test_brackets_of_a_level() -> None:
    raw = b'[1,[2,"],"],{"a":[3]}]'
    assert edges(raw, 1, True, 9) == [0, 2, 11, 21]
    assert edges(raw, 2, False, 9) == [3, 10, 12, 20]
    assert edges(raw, 2, False, 3) is None
    assert edges(raw, 4, False, 9) == []


def test_without_a_compiler_rubbish_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "MAX_STRUCTURE", 10)
    assert structure.edges(b"[[[[[]]]]]", 1, False, 9) == [0, 9]
    with pytest.raises(Rejected, match="more than 10 brackets"):
        structure.edges(b"[[[[[]]]]],", 1, False, 9)


@given(st.lists(st.recursive(st.integers(0, 9) | st.text(max_size=4), lambda inner: st.lists(inner, max_size=3), max_leaves=6), max_size=6))
def test_the_elements_of_an_array_are_found_beside_rubbish(values: list[object]) -> None:
    good = [json.dumps(value).encode() for value in values]
    raws = [*good, b"{rubbish}"]
    assert elements(b"[" + b" , ".join(raws) + b"]") == raws


@pytest.mark.parametrize(("depth", "is_too_deep"), [(499, False), (500, False), (501, True)])
def test_depth_is_that_of_brackets_outside_of_strings(depth: int, is_too_deep: bool) -> None:
    raw = b'{"a":"%b","b":%b1%b}' % (b"[" * 2_000, b"[" * (depth - 1), b"]" * (depth - 1))
    assert is_deep(raw) == is_too_deep
