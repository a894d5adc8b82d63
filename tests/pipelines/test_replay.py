"""Replays through the whole graph: what was rejected is stored as if it had been accepted at once, however often it is tried."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from pipelines.audit import audit
from pipelines.generate import Plan, generate
from pipelines.replay import foresee, prepare
from runners.ingest import run_ingest
from runners.replay import Replayed, run_replay
from schemas.errors import ConfigError
from tests.transforms.io.letters.tables import HOUR, NOON, Tables, letter
from transforms.io.clickhouse import Client, close_all, shared
from transforms.io.letters import Selection
from transforms.io.letters.pages import read_page
from transforms.io.migrate import migrate
from transforms.io.registry import FileRegistry

REPEAT = "--direct_runner_bundle_repeat=1"
QUIET = Console(stderr=True, force_terminal=False)
TEAMS = '[[teams]]\nid = 1\ntokens = ["phc_a"]\n[[teams]]\nid = 2\ntokens = ["phc_b"]\n'


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


class Place:
    """A folder with a sink, a registry that knows nobody, and one that is right."""

    def __init__(self, folder: Path, teams: str = TEAMS) -> None:
        self.folder = folder
        self.sink = f"chdb:{folder / 'db'}"
        self.right = self._registry("right.toml", teams)
        self.wrong = self._registry("wrong.toml", '[[teams]]\nid = 99\ntokens = ["phc_nobody_has_it"]\n')

    def _registry(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    @property
    def client(self) -> Client:
        return shared(self.sink)

    def ingest(self, source: Path, teams: str, *beam: str) -> None:
        run_ingest(PipelineOptions(list(beam), source=[str(source)], sink=self.sink, teams=teams), QUIET)

    def replay(self, *beam: str, teams: str = "", rate: float | None = None, **filters: Any) -> Replayed:
        options = PipelineOptions(list(beam), sink=self.sink, teams=teams or self.right)
        return run_replay(options, Selection(**filters), rate, QUIET)[1]

    def ids(self) -> list[tuple[int, UUID]]:
        """Return what `events` holds, doubles too."""
        return sorted(self.client.rows("SELECT team_id, uuid FROM events"))

    def persons(self) -> list[tuple[Any, ...]]:
        """Return who is there, and what is known of them."""
        return sorted(self.client.rows("SELECT team_id, id, created_at, is_identified, properties FROM persons"))

    def statuses(self) -> dict[str, int]:
        return dict(self.client.rows("SELECT status, count() FROM letters GROUP BY status"))

    def assert_balanced(self) -> None:
        """The audit balances, and the letters of each receipt are what it has rejected."""
        result = audit(self.client)
        assert result.balanced, [*map(str, result.differences)]
        rejected = self.client.rows(
            "SELECT receipt, sum(count) FROM outcomes FINAL WHERE outcome = 'rejected' GROUP BY receipt ORDER BY receipt"
        )
        assert self.client.rows("SELECT _receipt, count() FROM dead_letters FINAL GROUP BY _receipt ORDER BY _receipt") == rejected


@pytest.mark.parametrize("beam", [(), (REPEAT,)], ids=["once", "repeated"])
@pytest.mark.parametrize(
    "plan",
    [{"shape": "captured"}, {"shape": "event", "format": "avro"}, {"shape": "batch"}, {"shape": "http"}],
    ids=lambda plan: plan["shape"],
)
def test_after_a_flood_of_unknown_tokens_all_is_as_if_the_registry_had_been_right(
    tmp_path: Path, plan: dict[str, Any], beam: tuple[str, ...]
) -> None:
    truth = generate(Plan(events=2_000, out=str(tmp_path / "in"), duplicates=0.05, invalid=0.03, teams=10, quota=0, **plan))
    place = Place(tmp_path, Path(truth.teams).read_text())
    place.ingest(tmp_path / "in", place.wrong, *beam)
    assert place.ids() == []
    done = place.replay(*beam)
    assert (done.stored, done.duplicate, done.limited, done.rejected) == (truth.stored, truth.duplicate, truth.limited, truth.rejected)
    assert done.received == done.selected == truth.events
    assert place.statuses() == {"replayed": truth.events - truth.rejected, "failed_again": truth.rejected, "waiting": truth.rejected}
    place.assert_balanced()
    found = place.ids(), place.persons()
    close_all()
    (tmp_path / "other").mkdir()
    other = Place(tmp_path / "other", Path(truth.teams).read_text())
    other.ingest(tmp_path / "in", other.right)
    assert found[0] == other.ids()
    if plan["shape"] == "captured":  # elsewhere the order of time is that of reading
        assert found[1] == other.persons()


def body(*numbers: int, token: str = "phc_a", **envelope: Any) -> bytes:
    """Return a client's batch; events with an even number have no uuid."""
    events = [
        {"event": "e", "distinct_id": f"d{number}", "timestamp": "2026-11-01T10:00:00Z", "properties": {"n": number}}
        | ({"uuid": str(UUID(int=number))} if number % 2 else {})
        for number in numbers
    ]
    return json.dumps({"api_key": token, "batch": events, **envelope}).encode()


def captured(number: int, token: str = "phc_b", now: str = "2026-11-01T10:30:00Z") -> bytes:
    inner = json.dumps({"event": "e", "properties": {"n": number}})
    return json.dumps({"uuid": str(UUID(int=number)), "distinct_id": "d", "data": inner, "now": now, "token": token}).encode()


@contextmanager
def limits(size: int) -> Iterator[None]:
    """Have longer bodies rejected as a whole."""
    with patch("transforms.parse.rules.MAX_BODY_BYTES", size):
        yield


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def lines(place: Place, bodies: Sequence[bytes]) -> Path:
    (place.folder / "in.jsonl").write_bytes(b"\n".join(bodies))
    return place.folder / "in.jsonl"


BODIES = [body(1, 2, 3), captured(4), body(6, token="phc_b"), body(8, 8), captured(5)]


@pytest.mark.parametrize("beam", [(), (REPEAT,)], ids=["once", "repeated"])
def test_a_second_and_a_third_replay_change_nothing(place: Place, beam: tuple[str, ...]) -> None:
    place.ingest(lines(place, BODIES), place.wrong)
    first = place.replay(*beam)
    assert (first.selected, first.stored, first.rejected) == (8, 8, 0)
    ids = place.ids()
    assert place.replay(*beam) == Replayed(0)
    again = place.replay(*beam, include_replayed=True)
    assert (again.selected, again.received, again.stored, again.duplicate) == (8, 8, 0, 8)
    assert place.ids() == ids
    assert place.statuses() == {"replayed": 8}
    place.assert_balanced()


def test_the_file_ingested_again_after_the_replay_stores_nothing(place: Place) -> None:
    """Also events without a uuid get the one that they would have had."""
    place.ingest(lines(place, BODIES), place.wrong)
    place.replay()
    ids = place.ids()
    place.ingest(lines(place, BODIES), place.right)
    assert place.ids() == ids
    place.ingest(lines(place, BODIES), place.wrong)
    assert place.replay().duplicate == 8
    assert place.ids() == ids
    place.assert_balanced()


def test_a_body_that_was_rejected_as_a_whole_becomes_its_events(place: Place) -> None:
    bad = body(11, 12)[:-2] + b', {"event": ""}, 5]}'
    with limits(10):
        place.ingest(lines(place, [body(1, 2, 3), captured(4), bad]), place.right)
    assert place.statuses() == {"waiting": 2}
    assert [row[0] for row in place.client.rows("SELECT DISTINCT reason FROM letters")] == ["body_too_large"]
    done = place.replay(REPEAT)
    assert (done.selected, done.received, done.stored, done.rejected) == (2, 7, 5, 2)
    assert place.statuses() == {"replayed": 1, "failed_again": 1, "waiting": 2}
    rows = place.client.rows("SELECT reason, attempt, origin_index, body FROM letters WHERE attempt > 1 ORDER BY origin_index")
    assert rows == [
        ("missing_event_name", 2, 2, '{"api_key":"phc_a","batch":[{"event": ""}]}'),
        ("malformed_body", 2, 3, '{"api_key":"phc_a","batch":[5]}'),
    ]
    place.assert_balanced()


RUBBISH = [
    b"\xff\xfe{",
    b"{\x00}",
    b'{"event": "e", "distinct_id": "\xed\xa0\x80", "token": "phc_a"}',
    gzip.compress(b"{}")[:-3],
    b"nonsense",
]


def test_rubbish_survives_every_attempt_byte_for_byte(place: Place) -> None:
    place.ingest(lines(place, [*RUBBISH, body(1)]), place.wrong)
    kept = [line for rubbish in RUBBISH for line in rubbish.split(b"\n")]
    for attempt in (1, 2, 3):
        columns = place.client.columns(f"SELECT body FROM letters WHERE reason = 'malformed_body' AND attempt = {attempt}")
        assert Counter(columns["body"]) == Counter(kept)
        place.replay()
    assert place.statuses() == {"replayed": 1, "failed_again": 3 * len(kept), "waiting": len(kept)}
    assert place.client.rows("SELECT uniqExact(origin_receipt, origin_offset) FROM letters WHERE reason = 'malformed_body'") == [
        (len(kept),)
    ]
    place.assert_balanced()


def test_letters_keep_the_time_at_which_they_arrived(tmp_path: Path) -> None:
    place = Place(tmp_path, '[[teams]]\nid = 2\ntokens = ["phc_b"]\n[teams.limits]\nevents_per_hour = 2\n')
    arrivals = [NOON + hour * HOUR + number for hour in (0, 1) for number in range(3)]
    Tables(place.sink).write([letter(n, body=body(2 * n + 1, token="phc_b"), arrival=arrival) for n, arrival in enumerate(arrivals)])
    done = place.replay()
    assert (done.stored, done.limited) == (4, 2)
    stored = [row[0] for row in place.client.rows("SELECT toUnixTimestamp64Micro(_timestamp) FROM events ORDER BY 1")]
    assert stored == [NOON, NOON + 1, NOON + HOUR, NOON + HOUR + 1]
    assert audit(place.client).balanced


def test_at_a_rate_letters_go_in_small_pages(place: Place) -> None:
    place.ingest(lines(place, [captured(number) for number in range(1, 8)]), place.wrong)
    options = PipelineOptions([], sink=place.sink, teams=place.right)
    job = prepare(options, Selection(), rate=3.0)
    assert [(page.start, page.end) for page in job.pages] == [(0, 3), (3, 6), (6, 7)]
    assert job.store.max_rows == 15
    assert place.replay(rate=1_000.0).stored == 7
    place.assert_balanced()


def test_a_dry_run_says_what_then_happens_and_writes_nothing(place: Place) -> None:
    place.ingest(lines(place, [*BODIES, *RUBBISH, body(20, token="phc_unknown")]), place.wrong)
    tables = [
        row[0]
        for row in place.client.rows("SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'")
    ]
    assert {"replays", "dead_letters", "events", "receipts", "ingestion_warnings"} <= set(tables)

    def sizes() -> list[Any]:
        return [place.client.rows(f"SELECT count() FROM {table}") for table in tables]

    before = sizes()
    found = foresee(place.client, FileRegistry(place.right).current(), Selection())
    assert sizes() == before
    done = place.replay()
    assert (found.selected, found.accepted) == (done.selected, done.stored)
    assert sum(found.rejected.values()) == done.rejected
    assert found.rejected["unknown_token"] == 1
    assert sum(group.letters for group in found.letters) == found.selected
    assert found.letters[0].reason == "unknown_token"


def test_a_replay_that_died_is_no_difference_and_its_letters_still_wait(place: Place) -> None:
    place.ingest(lines(place, BODIES), place.wrong)
    job = prepare(PipelineOptions([], sink=place.sink, teams=place.right), Selection())
    job.store.ledger.open_stream(read_page(place.client, job.store.run, job.pages[0]))
    assert place.statuses() == {"waiting": 8}
    assert audit(place.client).balanced
    assert place.replay().stored == 8
    assert place.statuses() == {"replayed": 8}
    place.assert_balanced()


def test_nothing_to_replay_starts_nothing(place: Place) -> None:
    migrate(place.client)
    assert place.replay(teams=place.right) == Replayed(0)
    assert place.client.rows("SELECT count() FROM receipts") == [(0,)]


def test_a_server_needs_the_registry(engine_url: str) -> None:
    migrate(shared(engine_url))
    with pytest.raises(ConfigError, match="--teams is missing"):
        prepare(PipelineOptions([], sink=engine_url), Selection())


def test_a_condition_that_is_none_is_refused(place: Place) -> None:
    with pytest.raises(ConfigError, match="--where 'nonsense'"):
        place.replay(where="nonsense")


subsets = st.lists(st.tuples(st.sets(st.integers(0, 9), min_size=1), st.booleans(), st.sampled_from(["right", "wrong"])), max_size=4)


@settings(max_examples=6)
@given(st.lists(st.sampled_from([body(1, 2), body(3), captured(5), captured(7, "phc_a"), body(2, 2)]), min_size=1, max_size=4), subsets)
def test_any_subsets_in_any_order_give_what_the_right_registry_would_have(
    bodies: list[bytes], picks: list[tuple[set[int], bool, str]]
) -> None:
    with TemporaryDirectory() as folder:
        place = Place(Path(folder))
        source = lines(place, bodies)
        place.ingest(source, place.right)
        right = set(place.ids())
        close_all()
        place.sink += "-2"
        place.ingest(source, place.wrong)
        for places, repeated, registry in picks:
            where = f"cityHash64(origin_offset, origin_index) % 10 IN ({', '.join(map(str, places))})"
            place.replay(teams=getattr(place, registry), where=where, include_replayed=repeated)
            assert set(place.ids()) <= right
        place.replay()
        assert place.ids() == sorted(right)
        assert "waiting" not in place.statuses()
        place.assert_balanced()
        close_all()
