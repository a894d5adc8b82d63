"""Short ways to parse in tests."""

import json
from datetime import UTC, datetime
from typing import Any

from schemas.event import Batch, DeadLetter, Event
from schemas.message import Messages
from schemas.outcomes import Report
from schemas.teams import Registry
from transforms.parse.rules import parse_messages

REGISTRY = Registry(by_token={"phc_a": 1, "phc_b": 2, "phc_test": 3}, limits={})
SECOND = 1_000_000


def micros(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * SECOND)


NOW = micros("2026-11-01T12:00:00")


def parse(*payloads: bytes, stamped: bool = True, registry: Registry = REGISTRY, rejected: str = "") -> tuple[Batch, Report]:
    """Parse messages that arrived at 12:00:00; assert what holds for any: every event received is an event or a letter."""
    offsets = [place * 1000 for place in range(len(payloads))]
    arrivals = [NOW] * len(payloads) if stamped else []
    batch, report = parse_messages(Messages(9, "file", list(payloads), offsets, NOW, arrivals, rejected), registry)
    assert sum(tally.count for tally in report.tallies) == len(batch.events) + len(batch.letters)
    assert report.parsed == len(payloads)
    return batch, report


def message(**fields: Any) -> bytes:
    """Return a good client event with some fields changed; None leaves one out."""
    whole = {"event": "e", "distinct_id": "d", "token": "phc_a", "uuid": "0190a1b2-0000-7000-8000-00000000000f", "properties": {}, **fields}
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()


def event_of(payload: bytes, **options: Any) -> Event:
    batch, _ = parse(payload, **options)
    assert not batch.letters, batch.letters[0].detail
    (event,) = batch.events
    return event


def letter_of(payload: bytes, **options: Any) -> DeadLetter:
    batch, _ = parse(payload, **options)
    assert not batch.events
    (letter,) = batch.letters
    return letter


def warnings_of(payload: bytes) -> list[tuple[int, str]]:
    return [(warning.team_id, warning.type) for warning in parse(payload)[0].warnings]
