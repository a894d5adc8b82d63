"""Batches in numbers, and how long they are remembered."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.message import Messages
from tests.transforms.parse.helpers import NOW, REGISTRY, message
from transforms.breaker.window import KEPT_EVENTS, MOST_EVENTS, SECONDS, Seen, Window, seen_of
from transforms.parse.rules import parse_messages

BATCH = b'{"api_key": "phc_b", "batch": [{"event": "e", "distinct_id": "d"}, {"event": 1, "distinct_id": "d"}, {"event": "e"}]}'


def seen(*payloads: bytes, arrivals: list[int] | None = None) -> Seen:
    messages = Messages(9, "source", list(payloads), list(range(len(payloads))), NOW, arrivals or [])
    return seen_of(messages, *parse_messages(messages, REGISTRY), range(len(payloads)), 5.0)


def test_who_was_accepted_and_who_sent_what_was_not() -> None:
    found = seen(message(), message(token="phc_gone"), message(token="phc_gone", event=None), BATCH, b"rubbish")
    assert (found.events, found.rejected) == (7, 5)
    assert found.accepted == {1: 1, 2: 1}
    assert found.senders == {b"phc_gone": 2, 2: 2}
    assert found.reasons == {
        "unknown_token": 2, "schema_validation_failed": 1, "missing_distinct_id": 1, "malformed_body": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "payload",
    [
        b'{"token": "phc_gone", "now": "2026-11-01T12:00:00Z", "distinct_id": "d", "data": "{\\"event\\": \\"e\\"}"}',
        b'{"distinct_id": "d", "now": "2026-11-01T12:00:00Z", "data": "{\\"event\\": \\"e\\", \\"api_key\\": \\"phc_gone\\"}"}',
        b'{"api_key": "phc_gone", "batch": [{"event": "e", "distinct_id": "d"}]}',
        b'[{"event": "e", "distinct_id": "d", "properties": {"token":"phc_gone"}}]',
        b'{"event": "e", "distinct_id": "d", "$token" : "phc_gone"}',
    ],
    ids=["captured", "captured, inside", "batch", "array", "event"],
)
def test_the_token_is_found_in_every_shape_of_a_message(payload: bytes) -> None:
    assert seen(payload).senders == {b"phc_gone": 1}


def test_the_time_that_it_took_is_by_arrival() -> None:
    found = seen(message(), message(), message(), arrivals=[30, 10, 20])
    assert (found.first, found.last, found.at) == (10, 30, 5.0)
    assert seen(message()).first == NOW


def batch(at: float, events: int) -> Seen:
    return Seen("source", at, 0, 0, events, 0, Counter(), Counter(), Counter())


def test_a_minute_is_remembered_and_more_where_little_comes() -> None:
    window = Window()
    for second in range(200):
        window.add(batch(second, 100))
    assert [one.at for one in window.newest_first()] == list(range(199, 198 - int(SECONDS), -1))
    sparse = Window()
    for second in range(0, 20_000, 10):
        sparse.add(batch(second, 10))
    assert sum(one.events for one in sparse.newest_first()) == KEPT_EVENTS


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 30_000)), min_size=1, max_size=50))
def test_it_is_bounded_and_never_forgets_the_newest(batches: list[tuple[float, int]]) -> None:
    window, now = Window(), 0.0
    for seconds, events in batches:
        now += seconds
        window.add(batch(now, events))
        kept = list(window.newest_first())
        assert kept[0] == batch(now, events)
        assert sum(one.events for one in kept[:-1]) < MOST_EVENTS
