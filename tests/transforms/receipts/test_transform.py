"""`AcknowledgeReceipts` on Beam's local runner, into a real ClickHouse."""

import pickle
import random
from collections.abc import Sequence
from uuid import UUID

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.util import Reshuffle

from schemas.outcomes import Outcome, Report, Tally
from transforms import coders  # noqa: F401
from transforms.io.clickhouse import shared
from transforms.receipts import AcknowledgeReceipts, Ledger

HOUR = 1_795_000_000 // 3600 * 3600
RECEIPTS = "SELECT receipt, toString(status), run, source, start, end, messages FROM receipts FINAL ORDER BY receipt"
OUTCOMES = "SELECT receipt, team_id, toUnixTimestamp(hour), toString(outcome), reason, count FROM outcomes FINAL ORDER BY ALL"
runs = (f"01935b1e-0000-7000-8000-{number:012}" for number in range(1_000_000))


def number(receipt: int) -> int:
    """Return a receipt's id: 64 bits, as sources make them."""
    return random.Random(receipt).getrandbits(64)


def news(receipt: int) -> list[Report]:
    """Return reports of 10 messages: a stored, a duplicate and a limited event in each, and a message that is none."""
    stored, duplicate = Tally(1, HOUR, Outcome.STORED, "", 1), Tally(1, HOUR, Outcome.DUPLICATE, "", 1)
    limited = Tally(2, HOUR, Outcome.LIMITED, "events_per_hour", 1)
    received = [Tally(1, HOUR, Outcome.RECEIVED, "", 2), Tally(2, HOUR, Outcome.RECEIVED, "", 1)]
    return [
        Report(number(receipt), read=11, source=f"file-{receipt}", start=receipt, end=receipt + 100),
        *(Report(number(receipt), received, parsed=1) for _ in range(10)),
        *(Report(number(receipt), [stored, duplicate, limited]) for _ in range(10)),
        Report(number(receipt), [Tally(0, HOUR, Outcome.RECEIVED, "", 1)], parsed=1),
        Report(number(receipt), [Tally(0, HOUR, Outcome.REJECTED, "malformed_body", 1)]),
    ]


def expected_outcomes(receipt: int) -> list[tuple[object, ...]]:
    rows = [(0, "received", "", 1), (0, "rejected", "malformed_body", 1), (1, "received", "", 20), (1, "stored", "", 10)]
    rows += [(1, "duplicate", "", 10), (2, "received", "", 10), (2, "limited", "events_per_hour", 10)]
    return [(number(receipt), team, HOUR, outcome, reason, count) for team, outcome, reason, count in rows]


def acknowledge(sink: str, run: str, reports: Sequence[Report], *options: str) -> None:
    """Run the step; half of the reports take a way with a shuffle, and so come later and in other bundles."""
    with beam.Pipeline(FnApiRunner(), PipelineOptions(list(options))) as pipeline:
        late = pipeline | "Late" >> beam.Create(reports[::2]).with_output_types(Report) | Reshuffle()
        early = pipeline | "Early" >> beam.Create(reports[1::2]).with_output_types(Report)
        (early, late) | beam.Flatten() | AcknowledgeReceipts(Ledger(sink, run), shards=4)


OPTIONS = [(), ("--direct_runner_bundle_repeat=1",), ("--direct_runner_bundle_repeat=2",)]


@pytest.mark.parametrize("options", OPTIONS)
def test_each_receipt_that_balances_has_its_rows_and_no_other(sink: str, options: tuple[str, ...]) -> None:
    run = next(runs)
    whole = [report for receipt in range(30) for report in news(receipt)]
    torn = [report for receipt in range(30, 40) for report in news(receipt)[: receipt - 40]]
    reports = [*whole, *torn]
    random.Random(1).shuffle(reports)
    acknowledge(sink, run, reports, *options)
    client = shared(sink)
    assert client.rows(RECEIPTS) == sorted(
        (number(receipt), "acknowledged", UUID(run), f"file-{receipt}", receipt, receipt + 100, 11) for receipt in range(30)
    )
    assert sorted(client.rows(OUTCOMES), key=str) == sorted((row for receipt in range(30) for row in expected_outcomes(receipt)), key=str)


def test_a_second_run_of_other_receipts_adds_its_own(sink: str) -> None:
    acknowledge(sink, next(runs), news(1))
    acknowledge(sink, next(runs), news(2))
    assert len(shared(sink).rows(RECEIPTS)) == 2
    assert len(shared(sink).rows(OUTCOMES)) == 14


def test_nothing_comes_in_nothing_is_written(sink: str) -> None:
    acknowledge(sink, next(runs), [])
    assert shared(sink).rows("SELECT (SELECT count() FROM receipts), (SELECT count() FROM outcomes)") == [(0, 0)]


def test_the_step_is_plain_data(sink: str) -> None:
    step = AcknowledgeReceipts(Ledger(sink, next(runs)), shards=7)
    copy = pickle.loads(pickle.dumps(step))
    assert (copy.ledger, copy.shards) == (step.ledger, 7)
