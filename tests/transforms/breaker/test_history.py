"""What a stream's teams usually send, read from the tables of a real ClickHouse."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from schemas.outcomes import Outcome
from schemas.tables import ACKNOWLEDGED, OPEN, OUTCOMES, RECEIPTS, TIME
from transforms.breaker.history import read_history, stream_of
from transforms.io.clickhouse import Client

TOPIC = "kafka://cluster/events"
NOW = datetime.now(UTC).replace(microsecond=0)


def receipt(client: Client, number: int, source: str, age: timedelta, accepted: dict[int, int], rejected: int = 0, status: int = 1) -> None:
    """Write a receipt as the ledger does: first open, and acknowledged at `age`."""
    for state in (OPEN, ACKNOWLEDGED)[: status + 1]:
        table = pa.Table.from_pylist(
            [{"receipt": number, "status": state, "run": bytes(16), "source": source, "start": 0, "end": 9, "messages": 9}], schema=RECEIPTS
        )
        client.insert("receipts", table.append_column("written_at", pa.array([NOW - age], TIME)))
    rows = [(number, team, 0, Outcome.STORED, "", count) for team, count in accepted.items()]
    rows += [(number, team, 0, Outcome.RECEIVED, "", count) for team, count in accepted.items()]
    rows += [(number, 0, 0, Outcome.REJECTED, "unknown_token", rejected)] if rejected else []
    client.insert("outcomes", pa.Table.from_pylist([dict(zip(OUTCOMES.names, row, strict=True)) for row in rows], schema=OUTCOMES))


def test_what_was_accepted_by_source_and_second(client: Client) -> None:
    receipt(client, 1, f"{TOPIC}/0", timedelta(seconds=100), {1: 300, 2: 50})
    receipt(client, 2, f"{TOPIC}/0", timedelta(seconds=0), {1: 100}, rejected=1_000)
    receipt(client, 3, f"{TOPIC}/1", timedelta(seconds=50), {3: 70})
    receipt(client, 4, "kafka://cluster/events-of-others/0", timedelta(seconds=0), {4: 70})
    receipt(client, 5, f"{TOPIC}/0", timedelta(seconds=0), {5: 70}, status=0)
    assert read_history(client, TOPIC) == {f"{TOPIC}/0": {1: 4.0, 2: 0.5}, f"{TOPIC}/1": {3: 7.0}}


def test_it_is_the_day_before_the_last_event_that_was_accepted(client: Client) -> None:
    """While the breaker is open nothing is accepted: that must not make the history empty."""
    receipt(client, 1, "pubsub://p/s", timedelta(days=9), {1: 300, 7: 1})
    receipt(client, 2, "pubsub://p/s", timedelta(days=4), {1: 1_000, 2: 50})
    receipt(client, 3, "pubsub://p/s", timedelta(days=4) - timedelta(seconds=1_000), {1: 1_000})
    receipt(client, 4, "pubsub://p/s", timedelta(days=1), {}, rejected=100)
    assert read_history(client, "pubsub://p/s") == {"pubsub://p/s": {1: 2.0, 2: 0.05}}
    assert read_history(client, "pubsub://p/other") == {}


def test_a_name_is_no_sql(client: Client) -> None:
    assert read_history(client, "pubsub://p/it's") == {}


def test_a_topic_is_one_stream_and_a_subscription_too() -> None:
    assert stream_of("kafka://cluster/a/b-7") == "kafka://cluster/a"
    assert stream_of("pubsub://p/s") == "pubsub://p/s"
