"""Dead letters that are tried again come out as their first attempt would have."""

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.event import Batch, DeadLetter, Event
from schemas.message import Messages
from schemas.teams import Registry
from tests.transforms.parse.helpers import NOW, REGISTRY, SECOND, message
from transforms.io.letters.pages import Page, as_messages
from transforms.parse.rules import parse_messages
from transforms.sink.rows import letter_rows

NOBODY = Registry(by_token={}, limits={})
HALF = Registry(by_token={"phc_a": 1}, limits={})
REPLAY = "letters://0190a1b2-0000-7000-8000-000000000001"


def read(payloads: Sequence[bytes], registry: Registry, stamped: bool, receipt: int = 9) -> Batch:
    """Parse messages as a source reads them."""
    arrivals = [NOW + place * SECOND for place in range(len(payloads))] if stamped else []
    offsets = [place * 1000 for place in range(len(payloads))]
    return parse_messages(Messages(receipt, "topic/3", list(payloads), offsets, NOW, arrivals), registry)[0]


def as_rows(letters: Sequence[DeadLetter]) -> dict[str, list[Any]]:
    """Return letters as they are read back from the table."""
    columns = letter_rows(letters).to_pydict()
    columns["source"] = [source.encode() for source in columns["source"]]
    columns["arrival"] = [letter.arrival for letter in letters]
    columns["replay_offset"] = list(range(len(letters)))
    return columns


def replay(letters: Sequence[DeadLetter], registry: Registry, receipt: int = 10) -> Batch:
    """Parse letters as a replay does; assert what holds for any."""
    if not letters:
        return Batch()
    batch, report = parse_messages(as_messages(as_rows(letters), REPLAY, Page(receipt, 0, len(letters))), registry)
    assert sum(tally.count for tally in report.tallies) == len(batch.events) + len(batch.letters)
    assert report.parsed == len(letters)
    assert all(each.receipt == receipt for each in [*batch.events, *batch.letters])
    return batch


def events(*batches: Batch) -> list[bytes]:
    """Return events without the delivery that they came by: all that replaying must not change."""
    bare = [msgspec.structs.replace(event, receipt=0, offset=0, index=0) for batch in batches for event in batch.events]
    return sorted(map(msgspec.msgpack.encode, bare))


def letters(batch: Batch) -> list[tuple[Any, ...]]:
    """Return letters without their delivery and their number of attempts."""
    return sorted(
        (
            *(one.team_id, one.reason, one.detail, one.body, one.arrival, one.stamped),
            *(one.source, one.origin_receipt, one.origin_offset, one.origin_index),
        )
        for one in batch.letters
    )


NESTED = b'{"a":' * 1000 + b"1" + b"}" * 1000
ODD = [b"5", b'"\xff\xfe"', b'{"event": "e\xff"}', b"nonsense", b'"a', b'{"event":"e","distinct_id":1e999,"token":"phc_b"}', NESTED]

fields = st.fixed_dictionaries(
    {
        "token": st.sampled_from(["phc_a", "phc_b", "phc_nobody", None, 5]),
        "uuid": st.sampled_from([None, None, "0190a1b2-0000-7000-8000-00000000000f", "no uuid"]),
        "timestamp": st.sampled_from([None, "2026-11-01T10:00:00Z", 1_700_000_000, "never"]),
        "event": st.sampled_from(["e", "$identify", "", None]),
        "properties": st.sampled_from([{}, {"$set": {"a": "\0"}}, {"$anon_distinct_id": "x"}, [], {"token": "phc_b"}, {"a": "\ud800"}]),
    },
    optional={
        "sent_at": st.sampled_from(["2026-11-01T11:59:00Z", 1e300]),
        "historical_migration": st.booleans(),
        "$ignore_sent_at": st.booleans(),
        "offset": st.sampled_from([5000, "x"]),
    },
)
raws = fields.map(lambda some: message(**some)) | st.sampled_from(ODD)
heads = st.fixed_dictionaries(
    {},
    optional={
        "api_key": st.sampled_from(["phc_a", "phc_b", "phc_nobody"]),
        "sent_at": st.sampled_from(["2026-11-01T11:59:30Z", None, "never"]),
        "historical_migration": st.booleans(),
        "$ignore_sent_at": st.just(True),
    },
)


def in_batch(head: dict[str, Any], inner: Sequence[bytes]) -> bytes:
    start = json.dumps(head)[:-1].encode()
    return start + (b", " if head else b"") + b'"batch": [' + b", ".join(inner) + b"]}"


def captured(raw: bytes, now: str | None) -> bytes:
    whole = {"token": "phc_b", "distinct_id": "d", "uuid": "", "now": now, "data": raw.decode(errors="replace")}
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()


messages = st.one_of(
    raws,
    st.builds(in_batch, heads, st.lists(raws, max_size=4)),
    st.lists(raws, max_size=3).map(lambda inner: b"[" + b",".join(inner) + b"]"),
    st.builds(captured, raws, st.sampled_from([None, "2026-11-01T11:00:00Z"])),
    st.binary(max_size=40),
)
bodies = messages | messages.map(lambda body: gzip.compress(body, mtime=0))


@given(st.lists(bodies, max_size=5), st.booleans(), st.sampled_from([NOBODY, HALF]))
@example([in_batch({"sent_at": "2026-11-01T11:59:30Z"}, [message(uuid=None, token="phc_b")] * 2)], False, HALF)
@example([in_batch({"api_key": "phc_b"}, [message(uuid=None, token=None), b"nonsense", NESTED])], True, NOBODY)
def test_what_a_wrong_registry_rejected_comes_out_as_with_the_right_one(payloads: list[bytes], stamped: bool, wrong: Registry) -> None:
    right = read(payloads, REGISTRY, stamped)
    first = read(payloads, wrong, stamped)
    again = replay(first.letters, wrong)
    last = replay(again.letters, REGISTRY)
    assert events(first, last) == events(right)
    assert letters(last) == letters(right)
    assert (again.events, {letter.attempt for letter in again.letters}) == ([], {2} if again.letters else set())
    assert letters(again) == letters(first)


@contextmanager
def _smaller_bodies() -> Iterator[None]:
    with patch("transforms.parse.rules.MAX_BODY_BYTES", 10):
        yield


@contextmanager
def _smaller_messages() -> Iterator[None]:
    with patch("transforms.parse.rules.MAX_MESSAGE_BYTES", 10):
        yield


@pytest.mark.parametrize("limited", [_smaller_bodies, _smaller_messages])
@given(st.lists(bodies, max_size=4), st.booleans())
@example([in_batch({"api_key": "phc_a"}, [message(uuid=None), message(event=None), message(uuid=None)])], True)
def test_what_was_rejected_as_a_whole_comes_out_in_parts(limited: Callable[[], Any], payloads: list[bytes], stamped: bool) -> None:
    right = read(payloads, REGISTRY, stamped)
    with limited():
        first = read(payloads, REGISTRY, stamped)
    last = replay(first.letters, REGISTRY)
    assert events(first, last) == events(right)
    assert letters(last) == letters(right)


@given(st.lists(bodies, min_size=1, max_size=4), st.data())
def test_letters_in_any_order_and_number_make_the_same_ids(payloads: list[bytes], data: st.DataObject) -> None:
    """Also the letters of a message that a broker has delivered twice."""
    first = read(payloads, NOBODY, stamped=True)
    redelivered = read(payloads, NOBODY, stamped=True, receipt=11)
    all_letters = [*first.letters, *redelivered.letters]
    picked = data.draw(st.permutations(all_letters))
    if picked:
        picked += data.draw(st.lists(st.sampled_from(all_letters), max_size=5))
    found = {(event.team_id, event.uuid) for event in replay(picked, REGISTRY).events}
    assert found == {(event.team_id, event.uuid) for event in read(payloads, REGISTRY, stamped=True).events}


def only(batch: Batch) -> Event:
    (event,) = batch.events
    return event


def test_events_without_a_uuid_that_are_alike_stay_two() -> None:
    body = in_batch({"api_key": "phc_a"}, [message(uuid=None)] * 2)
    first = read([body, body], NOBODY, stamped=True)
    assert len({event.uuid for event in replay(first.letters, REGISTRY).events}) == 4


def test_the_clock_of_a_client_is_corrected_only_where_it_was_the_first_time() -> None:
    body = in_batch({"api_key": "phc_a", "sent_at": "2026-11-01T11:00:00Z"}, [message(timestamp="2026-11-01T10:00:00Z")])
    times = [only(replay(read([body], NOBODY, stamped).letters, REGISTRY)).timestamp for stamped in (True, False)]
    assert times == [only(read([body], REGISTRY, stamped)).timestamp for stamped in (True, False)]
    assert times[0] - times[1] == 3600 * SECOND


def test_a_letter_of_a_letter_is_of_the_same_event() -> None:
    body = in_batch({"api_key": "phc_a"}, [message(), message(event=None, uuid=None)])
    with _smaller_bodies():
        (whole,) = read([b"ignored", body], NOBODY, stamped=True).letters[1:]
    (one, two) = replay([whole], NOBODY).letters
    assert [(each.offset, each.index) for each in (one, two)] == [(0, 0), (0, 1)]
    (third,) = replay([two], REGISTRY, receipt=12).letters
    assert (third.receipt, third.offset, third.index, third.attempt) == (12, 0, 0, 3)
    assert (third.source, third.origin_receipt, third.origin_offset, third.origin_index) == ("topic/3", 9, 1000, 1)
