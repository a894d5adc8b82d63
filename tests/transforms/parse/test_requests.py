"""Requests recorded from real client libraries, body by body."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from schemas.event import Event, PersonMode
from tests.transforms.parse.helpers import parse

RECORDED = Path(__file__).parents[2] / "data" / "requests"
FILES = sorted(RECORDED.glob("*.raw"))


def body_of(path: Path) -> bytes:
    return path.read_bytes().partition(b"\r\n\r\n")[2]


def events_of(name: str) -> list[Event]:
    batch, _ = parse(body_of(RECORDED / f"{name}.raw"))
    assert batch.letters == []
    return batch.events


def sent_in(path: Path) -> list[dict[str, Any]]:
    """Return the events of a body, decoded by other means."""
    body = body_of(path)
    text = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
    return list(json.loads(text)["batch"])


def test_all_are_there() -> None:
    assert len(FILES) == 21


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_event_comes_out_as_it_was_sent(path: Path) -> None:
    sent = sent_in(path)
    events = events_of(path.stem)
    assert len(events) == len(sent) > 0
    for event, original in zip(events, sent, strict=True):
        properties = original.get("properties", {})
        assert event.event == original["event"]
        assert event.distinct_id == str(original.get("distinct_id", properties.get("distinct_id")))
        assert event.team_id == 3
        assert event.uuid.hex() == original["uuid"].replace("-", "")
        stored = json.loads(event.properties)
        assert {**stored, **properties} == stored
        for name in ("$set", "$set_once"):
            if name in original:
                assert stored[name] == original[name]


def test_a_retry_repeats_its_uuids() -> None:
    first, second = events_of("py-timeout-01"), events_of("py-timeout-02")
    assert [event.uuid for event in first] == [event.uuid for event in second]


def test_an_event_without_a_distinct_id_has_no_person() -> None:
    (event,) = events_of("py-capture-nodistinct-01")
    assert event.person_mode == PersonMode.PROPERTYLESS


def test_historical_migration_is_kept() -> None:
    (event,) = events_of("py-historical-01")
    assert event.historical_migration


@pytest.mark.parametrize(("name", "needed"), [("js-05", "$anon_distinct_id"), ("node-identify-01", "$set"), ("py-identify-set-01", "$set")])
def test_what_persons_need_is_in_the_properties_wherever_the_client_puts_it(name: str, needed: str) -> None:
    (event,) = events_of(name)
    assert needed in json.loads(event.properties)
