"""Compiled columns against pyarrow's own, which are the reference: the same tables, and the same errors."""

import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.event import PENDING, DeadLetter, Event, IngestionWarning, PersonMode
from schemas.limits import MAX_GROUP_TYPES
from schemas.persons import Fact, GroupFact, Kind, person_id
from schemas.tables import EVENTS
from transforms.sink import rows
from transforms.sink.columns import Columns
from transforms.sink.rows import event_rows, fact_rows, group_rows, letter_rows, warning_rows

Make = Callable[[Sequence[Any]], pa.Table]

NOW = 1_795_000_000_000_000


def event(**changed: Any) -> Event:
    made = Event(3, bytes(range(16)), "pageview", "someone", NOW, NOW, b"{}", "", False, 0, 1, 2, 3)
    for name, value in changed.items():
        setattr(made, name, value)
    return made


@contextmanager
def not_compiled() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "COMPILED", False)
        yield


@contextmanager
def compiled_alone() -> Iterator[None]:
    def refuse(*_: Any) -> None:
        raise AssertionError("these records are plain, and were left to pyarrow")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows._Rows, "_arrays", refuse)
        yield


def check(make: Make, records: Sequence[msgspec.Struct]) -> None:
    """Check that plain records make the same table in both ways."""
    with compiled_alone():
        compiled = make(records)
    compiled.validate(full=True)
    with not_compiled():
        reference = make(records)
    assert compiled.schema.equals(reference.schema, check_metadata=True)
    assert compiled.equals(reference)
    assert compiled.nbytes == reference.nbytes, "blocks are limited by it"


def whole(bits: int, signed: bool) -> st.SearchStrategy[int]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.sampled_from([low, high, 0]) | st.integers(low, high)


INT8, UINT32, INT64, UINT64 = whole(8, True), whole(32, False), whole(64, True), whole(64, False)
UUIDS = st.binary(min_size=16, max_size=16)
TEXT = st.text() | st.sampled_from(["é", "日本", "\U0001f600" * 70, "a\0b", "x" * 70_000])
BYTES = st.binary() | st.sampled_from([bytes(300), b"\xff" * 200_000])
PLACES = st.tuples(UINT64, UINT64, UINT32)  # receipt, offset, index

EVENT = st.builds(
    lambda place, **fields: Event(**fields, receipt=place[0], offset=place[1], index=place[2]),
    PLACES,
    team_id=INT64,
    uuid=UUIDS,
    event=TEXT,
    distinct_id=TEXT,
    timestamp=INT64,
    arrival=INT64,
    properties=BYTES,
    elements_chain=TEXT,
    historical_migration=st.booleans(),
    person_mode=INT8 | st.sampled_from(PersonMode),
    groups=st.lists(TEXT, max_size=MAX_GROUP_TYPES).map(tuple),
    person_id=UUIDS,
    person_created_at=INT64,
    person_properties=BYTES,
)
FACT = st.builds(Fact, INT64, TEXT, INT8 | st.sampled_from(Kind), TEXT, INT64, UUIDS, BYTES, UUIDS)
GROUP_FACT = st.builds(GroupFact, INT64, TEXT, TEXT, INT8, TEXT, INT64, UUIDS, BYTES)
LETTER = st.builds(
    lambda place, origin, *fields: DeadLetter(*fields[:6], *place, *fields[6:], *origin),
    PLACES,
    PLACES,
    INT64,
    TEXT,
    TEXT,
    TEXT,
    BYTES,
    INT64,
    st.booleans(),
    UINT32,
    TEXT,
)
WARNING = st.builds(IngestionWarning, INT64, TEXT, TEXT, TEXT, UINT64, INT64, UINT64, UINT64)


@given(st.lists(EVENT, max_size=20))
def test_events(events: list[Event]) -> None:
    check(event_rows, events)


@given(st.lists(FACT, max_size=20))
def test_facts(facts: list[Fact]) -> None:
    check(fact_rows, facts)


@pytest.mark.parametrize(
    ("make", "record"), [(group_rows, GROUP_FACT), (letter_rows, LETTER), (warning_rows, WARNING)], ids=["groups", "letters", "warnings"]
)
@given(data=st.data())
def test_what_is_rarer(make: Make, record: st.SearchStrategy[msgspec.Struct], data: st.DataObject) -> None:
    check(make, data.draw(st.lists(record, max_size=10)))


def test_many_events_of_all_numbers_of_groups() -> None:
    names = tuple("abcde")
    check(event_rows, [event(index=place, groups=names[: place % 6], event="é" * place) for place in range(2000)])


def test_what_is_where() -> None:
    """Without the reference: a column, and what it is by the docstring of Event."""
    one = event(groups=("a", "b"), person_created_at=PENDING, arrival=NOW + 1, historical_migration=True)
    with compiled_alone():
        table = event_rows([event(), one])
    row = {name: table[name].cast(pa.int64())[1].as_py() for name in ("timestamp", "_timestamp", "person_created_at")}
    assert row == {"timestamp": NOW, "_timestamp": NOW + 1, "person_created_at": PENDING}
    (row,) = table.slice(1).drop_columns(list(row)).to_pylist()
    assert row == {
        "uuid": bytes(range(16)),
        "event": "pageview",
        "properties": b"{}",
        "team_id": 3,
        "distinct_id": "someone",
        "elements_chain": "",
        "person_mode": 0,
        "historical_migration": True,
        "_receipt": 1,
        "_offset": 2,
        "_index": 3,
        "person_id": bytes(16),
        "person_properties": b"{}",
        "$group_0": "a",
        "$group_1": "b",
        "$group_2": "",
        "$group_3": "",
        "$group_4": "",
    }


def test_a_fact_of_the_distinct_ids_own_person() -> None:
    own, other = person_id(3, "someone"), person_id(4, "someone")
    kinds = [(own, Kind.SET), (other, Kind.SET), (own, Kind.CREATED)]
    facts = [Fact(3, "someone", kind, "name", 1, bytes(16), b"1", person) for person, kind in kinds]
    with compiled_alone():
        table = fact_rows(facts)
    assert table["own"].to_pylist() == [1, 0, 0]
    assert table["bucket"].to_pylist() == [own[0], other[0], own[0]]
    assert table["person_id"].to_pylist() == [own, other, own]


class Name(StrEnum):
    PAGEVIEW = "pageview"


class MyEvent(Event):
    pass


@pytest.mark.parametrize(
    "odd",
    [
        event(team_id=None),
        event(team_id=3.5),
        event(event=None),
        event(event=b"pageview"),
        event(event=Name.PAGEVIEW),
        event(properties="{}"),
        event(properties=bytearray(b"{}")),
        event(uuid=None),
        event(uuid="sixteen letters."),
        event(historical_migration=None),
        event(groups=["a"]),
        event(groups=("a", None)),
        MyEvent(*msgspec.structs.astuple(event())),
    ],
    ids=repr,
)
def test_what_pyarrow_takes_is_taken_though_it_is_not_plain(odd: Event) -> None:
    events = [event(), odd, event()]
    compiled = event_rows(events)
    with not_compiled():
        assert compiled.equals(event_rows(events))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("team_id", 2**63),
        ("team_id", -(2**63) - 1),
        ("team_id", 2**200),
        ("team_id", True),
        ("team_id", "3"),
        ("timestamp", 2**63),
        ("person_created_at", -(2**63) - 1),
        ("person_mode", 128),
        ("person_mode", -129),
        ("person_mode", 256),
        ("receipt", -1),
        ("receipt", 2**64),
        ("offset", -(2**64)),
        ("index", -1),
        ("index", 2**32),
        ("event", "\ud800"),
        ("distinct_id", 7),
        ("event", b"\xff"),
        ("groups", ("a", "\udfff")),
        ("groups", ("a",) * (MAX_GROUP_TYPES + 1)),
        ("groups", 5),
        ("groups", (5,)),
        ("properties", 5),
        ("uuid", bytes(15)),
        ("uuid", bytes(17)),
        ("person_id", b""),
        ("historical_migration", 1),
    ],
)
def test_errors_are_those_of_pyarrow(field: str, value: Any) -> None:
    _error(event_rows, [event(), event(**{field: value})])


@pytest.mark.parametrize(
    ("field", "value"), [("person", b""), ("person", bytes(17)), ("kind", 128), ("order", 2**63), ("value", "\ud800"), ("key", "\ud800")]
)
def test_errors_of_facts(field: str, value: Any) -> None:
    fact = Fact(3, "someone", 0, "name", 1, bytes(16), b"1", bytes(16))
    _error(fact_rows, [fact, msgspec.structs.replace(fact, **{field: value})])


@pytest.mark.parametrize("other", [GroupFact(3, "a", "b", 0, "c", 1, bytes(16), b""), None, 3], ids=repr)
def test_what_is_no_event(other: Any) -> None:
    _error(event_rows, [event(), other])


def test_of_two_errors_it_is_the_same_one() -> None:
    _error(event_rows, [event(event="\ud800"), event(groups=("a",) * (MAX_GROUP_TYPES + 1))])


def _error(make: Make, records: Sequence[msgspec.Struct]) -> type[Exception]:
    """Return which error it is that is raised both ways, with the same text."""
    with pytest.raises(Exception) as compiled:  # noqa: PT011 - whatever it is, it is compared
        make(records)
    with not_compiled(), pytest.raises(Exception) as reference:  # noqa: PT011
        make(records)
    assert (compiled.type, str(compiled.value)) == (reference.type, str(reference.value))
    return compiled.type


def test_a_field_that_is_not_set() -> None:
    bare = event()
    del bare.event
    assert _error(event_rows, [event(), bare]) is AttributeError


@pytest.mark.parametrize(("field", "value"), [("properties", bytes(1 << 20)), ("event", "x" * (1 << 20))])
def test_more_bytes_than_offsets_can_count_are_left_to_pyarrow(field: str, value: Any) -> None:
    columns = Columns(Event, pa.schema([EVENTS.field(field)]), {}, {})
    events = [event(**{field: value})] * 2048  # 2 GiB, but one object
    before = pa.default_memory_pool().max_memory()
    assert columns.arrays(events) is None
    assert pa.default_memory_pool().max_memory() < max(before, 1 << 30), "nothing is copied before the size is known"


def test_types_that_no_table_has_are_refused() -> None:
    with pytest.raises(KeyError, match="double"):
        Columns(Event, pa.schema({"timestamp": pa.float64()}), {}, {})
    with pytest.raises(AttributeError, match="browser"):
        Columns(Event, pa.schema({"browser": pa.string()}), {}, {})
    with pytest.raises(TypeError, match="not a field"):
        Columns(Event, pa.schema({"__doc__": pa.string()}), {}, {})


def test_columns_are_in_arrows_pool() -> None:
    """Which runners.tuning chooses."""
    pool, chosen = pa.default_memory_pool(), pa.system_memory_pool()
    pa.set_memory_pool(chosen)
    try:
        before = chosen.bytes_allocated()
        with compiled_alone():
            table = event_rows([event()] * 1000)
        assert chosen.bytes_allocated() - before >= table.nbytes
        del table
        assert chosen.bytes_allocated() == before
    finally:
        pa.set_memory_pool(pool)


def test_without_the_compiled_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transforms.sink.columns", None)
    spec = importlib.util.find_spec("transforms.sink.rows")
    assert spec is not None
    assert spec.loader is not None
    bare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bare)
    assert not bare.COMPILED
    events = [event(), event(groups=("a",))]
    assert bare.event_rows(events).equals(event_rows(events))
