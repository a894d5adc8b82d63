"""Records survive their coder, and a runner can trust it with keys and pickles."""

import pickle
import random
import typing
from collections.abc import Iterator
from types import UnionType
from typing import Any

import msgspec
import pytest
from apache_beam import coders as beam_coders
from apache_beam.runners.pipeline_context import PipelineContext
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type
from hypothesis import given
from hypothesis import strategies as st

from schemas.event import Batch, DeadLetter, Event, IngestionWarning
from schemas.message import FileRange, Messages
from schemas.outcomes import Outcome, Report, Tally
from schemas.persons import Fact, GroupFact
from transforms import coders
from transforms.coders import StructCoder

INT64 = st.integers(-(2**63), 2**63 - 1)
UINT64 = st.integers(0, 2**64 - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
BYTES = st.binary(max_size=40)
POSITIONS = (UINT64, UINT64, st.integers(0, 2**32 - 1))

UUIDS, MODES = st.binary(min_size=16, max_size=16), st.integers(0, 2)
FACTS = st.builds(Fact, INT64, TEXT, st.integers(0, 6), TEXT, INT64, UUIDS, BYTES, UUIDS)
GROUP_FACTS = st.builds(GroupFact, INT64, TEXT, TEXT, st.integers(0, 6), TEXT, INT64, UUIDS, BYTES)
EVENTS = st.builds(
    Event, INT64, UUIDS, TEXT, TEXT, INT64, INT64, BYTES, TEXT, st.booleans(), MODES, *POSITIONS, TEXT,
    st.lists(FACTS, max_size=2).map(tuple), st.lists(GROUP_FACTS, max_size=2).map(tuple), st.lists(TEXT, max_size=5).map(tuple),
    st.lists(st.integers(0, 28) | BYTES, max_size=4).map(tuple), UUIDS, INT64, BYTES,
)  # fmt: skip
LETTERS = st.builds(DeadLetter, INT64, TEXT, TEXT, TEXT, BYTES, INT64, *POSITIONS)
WARNINGS = st.builds(IngestionWarning, INT64, TEXT, TEXT, TEXT, UINT64, INT64, UINT64, UINT64)
BATCHES = st.builds(
    Batch, st.lists(EVENTS, max_size=4), st.lists(LETTERS, max_size=2), st.lists(WARNINGS, max_size=2), BYTES,
    st.lists(FACTS, max_size=2), st.lists(FACTS, max_size=2),
)  # fmt: skip
TALLIES = st.builds(Tally, INT64, UINT64, st.sampled_from(Outcome).map(int), TEXT, UINT64)
REPORTS = st.builds(Report, UINT64, st.lists(TALLIES, max_size=4), UINT64, st.none() | UINT64, TEXT, UINT64, UINT64)
MESSAGES = st.builds(Messages, UINT64, TEXT, st.lists(BYTES), st.lists(UINT64), INT64, st.lists(INT64), TEXT)
RANGES = st.builds(FileRange, UINT64, TEXT, TEXT, UINT64, UINT64, UINT64, INT64)

KINDS = (Messages, FileRange, Batch, Report)
RECORDS = st.one_of(MESSAGES, RANGES, BATCHES, REPORTS)


def coder_of(kind: type) -> beam_coders.Coder:
    return beam_coders.registry.get_coder(kind)


@given(RECORDS)
def test_a_record_comes_back_as_it_was(record: msgspec.Struct) -> None:
    coder = coder_of(type(record))
    assert coder.decode(coder.encode(record)) == record


@given(BATCHES)
def test_a_batch_whose_properties_are_shared_comes_back_as_it_was(batch: Batch) -> None:
    coder, encoded = coder_of(Batch), coder_of(Batch).encode(batch)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(coders, "MAX_APART", 0)
        assert coder.decode(coder.encode(batch)) == coder.decode(encoded) == batch


def test_properties_that_events_share_are_encoded_once_and_shared_again() -> None:
    """Attack B2 on a runner that hands batches round: 5,000 times half a megabyte would be its answer to a few hundred bytes."""
    fat = random.Random(1).randbytes(490_000)
    events = [Event(1, bytes(16), "e", "d", 0, 0, b"{}", "", False, 0, 1, n, 0, person_properties=fat) for n in range(5_000)]
    encoded = coder_of(Batch).encode(Batch(events))
    assert len(encoded) < 1_000_000
    decoded = coder_of(Batch).decode(encoded)
    assert decoded == Batch(events)
    assert len({id(event.person_properties) for event in decoded.events}) == 1
    assert events[0].person_properties is fat, "what is encoded is not changed"


@given(RECORDS)
def test_equal_records_have_equal_bytes(record: msgspec.Struct) -> None:
    """Also in another process: the copies share nothing with the record or its coder."""
    copy = pickle.loads(pickle.dumps(record))
    coder = pickle.loads(pickle.dumps(coder_of(type(record))))
    assert coder.encode(copy) == coder_of(type(record)).encode(record)


def test_an_outcome_is_a_number_on_the_wire() -> None:
    coder = coder_of(Report)
    named, numbered = (Report(1, [Tally(1, 3600, outcome, "", 5)]) for outcome in (Outcome.LIMITED, 3))
    assert coder.encode(named) == coder.encode(numbered)
    assert coder.decode(coder.encode(named)).tallies[0].outcome == Outcome.LIMITED


@pytest.mark.parametrize("kind", KINDS)
def test_records_go_by_their_registered_coder_and_never_by_pickle(kind: type) -> None:
    coder = coder_of(kind)
    assert isinstance(coder, StructCoder)
    assert coder.to_type_hint() is kind
    assert coder.is_deterministic()
    assert coder.as_deterministic_coder("step") is coder
    keyed = beam_coders.registry.get_coder(convert_to_beam_type(tuple[int, kind]))
    assert keyed == beam_coders.TupleCoder((beam_coders.VarIntCoder(), coder))


@pytest.mark.parametrize("kind", KINDS)
def test_a_coder_equals_those_of_its_own_type(kind: type) -> None:
    coder = StructCoder(kind)
    others = [StructCoder(other) for other in KINDS if other is not kind]
    assert coder == StructCoder(kind) == pickle.loads(pickle.dumps(coder))
    assert hash(coder) == hash(StructCoder(kind))
    assert coder not in others
    assert coder != beam_coders.BytesCoder()


@given(BATCHES)
def test_a_coder_survives_the_pipelines_protocol(batch: Batch) -> None:
    """Beam ships it to workers in the pipeline's proto."""
    context = PipelineContext()
    proto = coder_of(Batch).to_runner_api(context)
    back = beam_coders.Coder.from_runner_api(proto, context)
    assert back == coder_of(Batch)
    assert back.decode(coder_of(Batch).encode(batch)) == batch


@pytest.mark.parametrize("kind", KINDS)
def test_no_record_holds_a_set_or_a_mapping(kind: type) -> None:
    """Their order could differ between two processes, and the bytes with it."""
    ordered = {int, str, bytes, bool, list, tuple, ..., type(None)}
    assert {found for found in _types(kind) if found not in ordered and not issubclass(found, msgspec.Struct)} == set()


def _types(kind: Any) -> Iterator[type]:
    """Yield all types that a record is made of."""
    origin = typing.get_origin(kind)
    if origin is not None:
        if origin is not UnionType and origin is not typing.Union:
            yield origin
        for part in typing.get_args(kind):
            yield from _types(part)
        return
    yield kind
    if kind is not ... and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            yield from _types(field.type)
