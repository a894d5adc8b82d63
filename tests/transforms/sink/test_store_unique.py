"""The keyed end of the graph on Beam's local runner, into a real ClickHouse."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID

import apache_beam as beam
import apache_beam.testing.util
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipelines.audit import Scope, audit
from schemas.event import Batch, DeadLetter, Event, IngestionWarning
from schemas.identity import unique_key
from schemas.message import FileRange
from schemas.outcomes import Outcome, Report, Tally
from transforms import coders  # noqa: F401
from transforms.io.clickhouse import Client, close_all, shared
from transforms.io.migrate import migrate
from transforms.receipts import AcknowledgeReceipts, Ledger
from transforms.runs import new_run
from transforms.sink import StoreUnique
from transforms.sink.event_ids import EventIds

NOW = 1_795_000_000_000_000
HOUR = NOW // 3_600_000_000 * 3600


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[str]:
    url = f"chdb:{tmp_path / 'db'}"
    migrate(shared(url))
    yield url
    close_all()


def event(uuid: int, receipt: int, offset: int, limited: str = "") -> Event:
    properties = b'{"n": "\xc3\xa9", "pad": "' + b"x" * 20 + b'"}'
    return Event(3, uuid.to_bytes(16), "$pageview", "d\u20ac", NOW, NOW + offset, properties, "a:b", True, 1, receipt, offset, 0, limited)


def run(sink: str, batches: Sequence[Batch], *options: str, log: bool = True, max_rows: int = 50_000) -> None:
    """Store batches of receipt 1 and close the receipt."""
    run_id = str(new_run(NOW))
    Ledger(sink, run_id).open_receipts([FileRange(1, "f", "lines", 0, 9, 9, NOW)])
    received = sum(len(batch.events) + len(batch.letters) for batch in batches)
    closing = [
        Report(1, [Tally(3, HOUR, Outcome.RECEIVED, "", received)], parsed=received),
        Report(1, read=received, source="f", start=0, end=9),
    ]
    with beam.Pipeline(FnApiRunner(), PipelineOptions(list(options))) as pipeline:
        reports = pipeline | beam.Create(batches) | StoreUnique(sink, run_id, shards=4, log=log, max_rows=max_rows)
        closed = pipeline | "Closing" >> beam.Create(closing)
        (reports, closed) | beam.Flatten() | AcknowledgeReceipts(Ledger(sink, run_id))


def outcomes(client: Client) -> dict[tuple[str, str], int]:
    rows = client.rows("SELECT toString(outcome), reason, sum(count) FROM outcomes FINAL GROUP BY 1, 2")
    return {(outcome, reason): count for outcome, reason, count in rows}


LETTER = DeadLetter(3, "missing_event_name", "no name", "ParseEvents", b"\x00\xff", NOW, 1, 900, 0)
WARNING = IngestionWarning(3, "event_name_too_long", "k", "{}", 2, NOW, 1, 0)


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("options", [(), ("--direct_runner_bundle_repeat=1",)])
@pytest.mark.parametrize("max_rows", [1, 7, 50_000])
def test_everything_is_stored_once_and_balances(sink: str, options: tuple[str, ...], log: bool, max_rows: int) -> None:
    batches = [
        Batch([event(n, 1, n) for n in range(100)]),
        Batch([event(n, 1, 200 + n) for n in range(0, 50, 5)], [LETTER], [WARNING]),
        Batch([event(300 + n, 1, 300 + n, limited="events_per_hour") for n in range(4)]),
    ]
    run(sink, batches, *options, log=log, max_rows=max_rows)
    client = shared(sink)
    assert client.rows("SELECT count(), uniqExact(uuid) FROM events") == [(100, 100)]
    assert client.rows("SELECT body, detail, reason, step FROM dead_letters FINAL") == [
        ("\x00\udcff", "no name", "missing_event_name", "ParseEvents")
    ]
    assert client.rows("SELECT type, key, count FROM ingestion_warnings FINAL") == [("event_name_too_long", "k", 2)]
    assert outcomes(client) == {
        ("received", ""): 115,
        ("stored", ""): 100,
        ("duplicate", ""): 10,
        ("limited", "events_per_hour"): 4,
        ("rejected", "missing_event_name"): 1,
    }
    result = audit(client, Scope())
    assert result.balanced, result.differences


def test_a_row_has_every_field_as_it_was(sink: str) -> None:
    one = event(0x0192_0000_0000_7000_8000_0000_0000_00AB, 1, 5)
    run(sink, [Batch([one])])
    columns = shared(sink).columns("SELECT *, created_at FROM events")
    assert columns["uuid"] == [UUID(bytes=one.uuid)]
    assert columns["properties"] == [one.properties]
    assert columns["distinct_id"] == ["d\u20ac".encode()]
    assert [columns[name][0] for name in ("team_id", "person_mode", "historical_migration", "_receipt", "_offset", "_index")] == [
        3, "propertyless", True, 1, 5, 0,
    ]  # fmt: skip
    assert [int(columns[name][0].timestamp() * 1_000_000) for name in ("timestamp", "_timestamp", "created_at")] == [NOW, NOW + 5, NOW + 5]


def test_ids_that_end_in_zeros_are_read_back_whole(sink: str) -> None:
    """One key in 256 ends with a zero byte, which ClickHouse's text functions would cut off."""
    events = [event(n, 1, n) for n in range(2_000)]
    run(sink, [Batch(events)])
    ((run_id,),) = shared(sink).rows("SELECT DISTINCT run FROM runs")
    table = EventIds(shared(sink), run_id)
    stored = table.load(0, 1, [NOW // 86_400_000_000], 0)
    (keys,) = stored.days.values()
    assert sorted(keys[at : at + 16] for at in range(0, len(keys), 16)) == sorted(unique_key(3, each.uuid) for each in events)
    assert stored.receipts == {1}
    assert table.deliveries(0, 1, {1}) == {(1, n, 0) for n in range(2_000)}
    assert EventIds(shared(sink), new_run(NOW)).load(0, 1, [NOW // 86_400_000_000], 0).receipts == set(), "another run's"
    assert not table.others_since(0)
    assert EventIds(shared(sink), new_run(NOW)).others_since(0)


def test_a_second_run_of_the_same_events_stores_nothing(sink: str) -> None:
    batch = [Batch([event(n, 1, n) for n in range(30)])]
    run(sink, batch)
    second = [Batch([event(n, 2, n) for n in range(30)])]
    with beam.Pipeline(FnApiRunner(), PipelineOptions([])) as pipeline:
        reports = pipeline | beam.Create(second) | StoreUnique(sink, str(new_run(NOW + 9)), shards=4)
        beam.testing.util.assert_that(
            reports | beam.Map(lambda report: sum(tally.count for tally in report.tallies if tally.outcome == Outcome.DUPLICATE))
            | beam.CombineGlobally(sum),
            beam.testing.util.equal_to([30]),
        )  # fmt: skip
    assert shared(sink).rows("SELECT count() FROM events") == [(30,)]
