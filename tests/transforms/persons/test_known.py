"""What a worker knows of persons and distinct ids."""

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.persons import Fact, Kind, person_id
from transforms.persons.known import NEVER, KnownIds, KnownPersons

MANY = 3_000  # more than the columns have room for at first


def own(name: str) -> bytes:
    return person_id(1, name)


def row_of(known: KnownPersons, name: str) -> int:
    return int(known.rows(own(name))[0])


def link(source: str, target: str, time: int) -> Fact:
    return Fact(1, source, Kind.LINK, "", -time, time.to_bytes(16), target.encode(), own(source))


def forced(source: str, target: str, time: int) -> Fact:
    return Fact(1, source, Kind.FORCED, target, -time, time.to_bytes(16), b"", own(source))


def set_to(name: str, key: str, value: bytes, time: int = 5) -> Fact:
    return Fact(1, name, Kind.SET, key, time, time.to_bytes(16), value, own(name))


def test_of_several_sights_in_one_batch_the_earliest_is_the_first() -> None:
    known = KnownPersons()
    row = row_of(known, "x")
    assert known.see(np.array([row] * 3), np.array([7, 5, 9])).tolist() == [False, True, False]
    assert known.see(np.array([row]), np.array([5])).tolist() == [False]
    assert known.see(np.array([row]), np.array([4])).tolist() == [True]


def test_columns_stay_in_line_when_they_grow() -> None:
    known = KnownIds()
    for number in range(MANY):
        row = row_of(known, str(number))
        known.see(np.array([row]), np.array([number]))
        if number % 3 == 0:
            known.identify(row, number)
        if number % 5 == 0:
            known.merge(row, forced(str(number), "hub", number))
        known.has_heard(row, number, number)
    for number in range(MANY):
        row = row_of(known, str(number))
        assert known.seen[row] == number
        assert known.identified[row] == (number if number % 3 == 0 else NEVER)
        assert known.is_pending[row] == (number % 3 == 0 or number % 5 == 0)
        assert known.targets.get(row) == (own("hub") if number % 5 == 0 else None)
        assert known.has_heard(row, number, number)


def test_many_sights_are_loaded_at_once() -> None:
    known = KnownPersons()
    names = [str(number) for number in range(MANY)]
    known.load([own(name) for name in names], [-number for number in range(MANY)])
    known.load([own("7"), own("new")], [-100, -3])
    assert [int(known.seen[row_of(known, name)]) for name in names] == list(range(MANY))
    assert known.seen[row_of(known, "new")] == 3


def test_what_was_heard_is_heard_again_later_and_not_earlier() -> None:
    known = KnownPersons()
    row = row_of(known, "x")
    assert not known.has_heard(row, 10, 77)
    assert known.has_heard(row, 10, 77)
    assert known.has_heard(row, 11, 77)
    assert not known.has_heard(row, 9, 77), "an earlier event sets an earlier `once`"
    assert known.has_heard(row, 9, 77)
    assert not known.has_heard(row, 12, 78)


MERGES = st.lists(
    st.one_of(
        st.builds(link, st.sampled_from("ab"), st.sampled_from("uvw"), st.integers(1, 6)),
        st.builds(forced, st.sampled_from("ab"), st.sampled_from("uvw"), st.integers(1, 6)),
        st.builds(
            lambda name, time: Fact(1, name, Kind.IDENTIFIED, "", -time, bytes(16), b"", own(name)),
            st.sampled_from("ab"),
            st.integers(1, 6),
        ),
    ),
    max_size=8,
)


@given(MERGES, st.randoms(use_true_random=False))
def test_targets_are_the_same_in_any_order(facts: list[Fact], rng: random.Random) -> None:
    def targets(order: list[Fact]) -> list[tuple[object, ...]]:
        known = KnownIds()
        known.learn(order)
        rows = [row_of(known, name) for name in "ab"]
        return [(known.targets.get(row), int(known.identified[row]), bool(known.is_pending[row])) for row in rows]

    other = [*facts, *facts[:3]]
    rng.shuffle(other)
    assert targets(facts) == targets(other)


def test_a_link_holds_unless_its_source_was_identified_before() -> None:
    known = KnownIds()
    row = row_of(known, "a")
    known.identify(row, 5)
    assert not known.merge(row, link("a", "u", 6))
    assert known.targets.get(row) is None
    assert known.merge(row, link("a", "v", 5)), "at the same moment is not before"
    assert known.targets[row] == own("v")


def test_news_of_an_earlier_identification_ends_a_link() -> None:
    known = KnownIds()
    row = row_of(known, "a")
    assert known.merge(row, link("a", "u", 6))
    assert known.identify(row, 3)
    assert known.targets.get(row) is None
    assert known.is_pending[row]


def test_of_two_links_the_earlier_stands() -> None:
    known = KnownIds()
    row = row_of(known, "a")
    assert known.merge(row, link("a", "u", 6))
    assert not known.merge(row, link("a", "v", 7))
    assert known.targets[row] == own("u")
    assert known.merge(row, link("a", "w", 5))
    assert known.targets[row] == own("w")


def test_a_forced_merge_holds_whoever_was_identified() -> None:
    known = KnownIds()
    row = row_of(known, "a")
    known.identify(row, 1)
    assert known.merge(row, forced("a", "u", 9))
    assert known.targets[row] == own("u")


def test_properties_are_learned_and_forgotten() -> None:
    known = KnownPersons()
    known.learn([set_to("x", "a", b"1"), set_to("x", "b", b"2"), set_to("y", "a", b"3")])
    assert [known.properties(row_of(known, name)) for name in "xyz"] == [b'{"a":1,"b":2}', b'{"a":3}', b"{}"]
    known.forget(row_of(known, "x"))
    assert [known.properties(row_of(known, name)) for name in "xyz"] == [b"{}", b'{"a":3}', b"{}"]


def test_ids_that_are_merged_keep_no_properties() -> None:
    known = KnownIds()
    known.learn([link("x", "u", 3), set_to("x", "a", b"1"), set_to("y", "a", b"2")])
    assert [known.properties(row_of(known, name)) for name in "xy"] == [b"{}", b'{"a":2}']


def test_only_what_is_new_is_news() -> None:
    known = KnownPersons()
    row = row_of(known, "x")
    facts = [set_to("x", "a", b"1"), set_to("x", "b", b"2")]
    assert known.add(row, facts, own("x")) == facts
    assert known.add(row, [*facts, set_to("x", "a", b"0", 4), set_to("x", "a", b"3", 6)], own("x")) == [set_to("x", "a", b"3", 6)]
