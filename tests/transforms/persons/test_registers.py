"""Registers merge in any order, and are read by one rule."""

import json
from collections.abc import Sequence
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.persons import PROTECTED, Fact, Kind, initial
from transforms.persons.registers import Record, Register, json_of, register_of, shown, standing

PERSON = bytes(16)
VALUES = st.sampled_from([b"", b"null", b"1", b'"1"', b"true", b'{"a":1}'])
UUIDS = st.sampled_from([bytes(16), bytes(15) + b"\1", b"\xff" * 16])
REGISTERS = st.tuples(st.integers(-3, 3), UUIDS, VALUES)
KEYS = st.sampled_from(["a", "b", "email", "", "é", "😀", "\uffff", 'q"'])
FACTS = st.builds(
    lambda kind, key, register, name: Fact(
        1, name, kind, key, register[0], register[1], register[2] or (b"" if kind == Kind.SET else b"1"), PERSON
    ),
    st.sampled_from([Kind.SET, Kind.ONCE]),
    KEYS,
    REGISTERS,
    st.sampled_from(["x", "y"]),
)


def source_of(fact: Fact) -> bytes:
    return fact.distinct_id.encode() * 8


def record_of(facts: Sequence[Fact]) -> Record:
    record = Record()
    for fact in facts:
        record.add(fact, source_of(fact))
    return record


@given(REGISTERS, REGISTERS, REGISTERS)
def test_the_merge_is_associative_commutative_and_idempotent(a: Register, b: Register, c: Register) -> None:
    assert max(a, max(b, c)) == max(max(a, b), c)
    assert max(a, b) == max(b, a)
    assert max(a, a) == a


@pytest.mark.parametrize("kind", [Kind.LINK, Kind.FORCED, Kind.IDENTIFIED, Kind.FIRST_SEEN, Kind.ONCE])
def test_of_these_the_earliest_stands(kind: Kind) -> None:
    early, late = (Fact(1, "x", kind, "", -time, b"u" * 16, b"v", PERSON) for time in (100, 200))
    assert max(register_of(early), register_of(late)) == register_of(early)


def test_of_set_the_latest_stands_then_the_greater_uuid_then_the_greater_value() -> None:
    registers = [(2, b"a", b"1"), (2, b"b", b"1"), (2, b"b", b"2"), (1, b"z", b"9")]
    assert max(registers) == (2, b"b", b"2")


@given(st.lists(FACTS, max_size=12), st.randoms(use_true_random=False), st.integers(0, 12))
def test_order_repetition_and_splitting_do_not_matter(facts: list[Fact], rng: object, cut: int) -> None:
    other = facts + facts[: cut // 2]
    rng.shuffle(other)  # type: ignore[attr-defined]
    packed = b""
    for part in (other[:cut], other[cut:]):
        record = Record(packed)
        for fact in part:
            record.add(fact, source_of(fact))
        packed = record.packed(record.shown()) if part else packed
    expected = record_of(facts)
    assert sorted(Record(packed)) == sorted(expected)
    assert (json_of(packed) if packed else b"{}") == expected.shown().json


@given(st.lists(FACTS, max_size=12))
def test_a_record_is_the_same_packed_and_unpacked(facts: list[Fact]) -> None:
    record = record_of(facts)
    packed = record.packed(record.shown())
    again = Record(packed)
    assert sorted(again) == sorted(record)
    assert json_of(packed) == record.shown().json == again.shown().json
    for fact in facts:
        assert record.add(fact, source_of(fact)) == again.add(fact, source_of(fact)), "sources are kept too"


@given(st.lists(FACTS, min_size=1, max_size=12))
def test_what_stands_is_what_a_fold_over_the_facts_gives(facts: list[Fact]) -> None:
    best: dict[tuple[int, str], Register] = {}
    for fact in facts:
        best[fact.kind, fact.key] = max(best.get((fact.kind, fact.key), register_of(fact)), register_of(fact))
    assert {(kind, key): register for kind, key, register in record_of(facts)} == best


def test_old_news_is_news_if_another_distinct_id_says_it() -> None:
    fact = Fact(1, "x", Kind.SET, "a", 5, bytes(16), b"1", PERSON)
    record = Record()
    assert record.add(fact, b"x" * 8)
    assert not record.add(fact, b"x" * 8)
    assert record.add(fact, b"y" * 8)


@pytest.mark.parametrize(
    ("chosen", "once", "value"),
    [
        (None, (-9, b"", b"2"), b"2"),
        ((9, b"", b"2"), (-10, b"", b"1"), b"2"),
        ((9, b"", b"2"), None, b"2"),
        ((9, b"", b"null"), (-10, b"", b"1"), b"1"),
        ((9, b"", b"null"), (-8, b"", b"1"), b"null"),
        ((9, b"", b"null"), (-9, b"", b"1"), b"null"),
        ((9, b"", b"null"), None, b"null"),
        ((10, b"", b""), (-9, b"", b"1"), None),
        ((10, b"", b""), (-10, b"", b"1"), None),
        ((10, b"", b""), (-11, b"", b"1"), b"1"),
        ((10, b"", b""), None, None),
        (None, None, None),
    ],
)
def test_what_a_property_is(chosen: Register | None, once: Register | None, value: bytes | None) -> None:
    found = standing(chosen, once)
    assert (found[2] if found else None) == value


@given(st.dictionaries(st.text(max_size=5), st.just((1, b"", b"1")), max_size=8))
def test_members_are_in_the_order_of_utf8(sets: dict[str, Register]) -> None:
    sets = {key: register for key, register in sets.items() if key.isprintable()}
    assert list(json.loads(shown(sets, {}).json)) == sorted(sets, key=str.encode)


def of_size(key: str, size: int) -> tuple[str, Register]:
    """Return a property whose member, with its comma, has so many bytes."""
    return key, (1, b"", b'"' + b"v" * (size - len(key) - 6) + b'"')


def test_655360_bytes_are_shown_and_one_more_is_too_much() -> None:
    full = shown(dict([of_size("a", 400_000), of_size("b", 255_359)]), {})
    assert (len(full.json), full.size, full.is_trimmed) == (655_360, 655_360, False)
    trimmed = shown(dict([of_size("a", 400_000), of_size("b", 255_360)]), {})
    assert (trimmed.size, trimmed.is_trimmed, list(json.loads(trimmed.json))) == (655_361, True, ["a"])


def test_what_is_cut_has_524288_bytes_at_most() -> None:
    sizes = {"a": 262_144, "b": 262_143, "c": 200_000}
    assert len(shown(dict(of_size(*one) for one in sizes.items()), {}).json) == 524_288
    sizes["b"] += 1
    assert list(json.loads(shown(dict(of_size(*one) for one in sizes.items()), {}).json)) == ["a"]


def test_cutting_stops_at_the_first_that_does_not_fit() -> None:
    sizes = {"a": 300_000, "b": 400_000, "c": 100}
    assert list(json.loads(shown(dict(of_size(*one) for one in sizes.items()), {}).json)) == ["a"]


def test_protected_ones_are_cut_last() -> None:
    sizes = {"a": 400_000, "b": 200_000, "email": 100_000, "utm_source": 100, "$initial_utm_source": 100}
    kept = list(json.loads(shown(dict(of_size(*one) for one in sizes.items()), {}).json))
    assert kept == ["$initial_utm_source", "a", "email", "utm_source"]
    assert {"email", "name", "utm_source", initial("$browser")} <= PROTECTED


def test_a_record_forgets_what_is_too_much_to_show() -> None:
    record = Record()
    for key in "abc":
        name, (order, uuid, value) = of_size(key, 300_000)
        record.add(Fact(1, "x", Kind.SET, name, order, uuid.ljust(16), value, PERSON), b"x" * 8)
    found = record.shown()
    assert len(Record(record.packed(found)).packed(found)) < 310_000


def test_five_short_properties_pack_small() -> None:
    facts = [
        Fact(1, "x", Kind.SET, key, 1_795_000_000_000_000, b"u" * 16, b'"value"', PERSON) for key in ("email", "plan", "role", "n", "beta")
    ]
    record = record_of(facts)
    found = record.shown()
    assert len(record.packed(found)) - len(found.json) < 60


@given(st.lists(st.lists(FACTS, max_size=4), max_size=4))
def test_records_of_several_ids_merge_in_any_order(parts: list[list[Fact]]) -> None:
    def whole(order: Sequence[list[Fact]]) -> bytes:
        return record_of(reduce(lambda some, more: some + more, order, [])).shown().json

    assert whole(parts) == whole(parts[::-1])
