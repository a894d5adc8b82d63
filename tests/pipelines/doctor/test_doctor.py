"""Each fault is made on a real database, and found; without it the finding is that all is well."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.doctor import Level, examine, server, tables
from pipelines.doctor.finding import Finding
from pipelines.doctor.registry import check_registry
from schemas.event import DeadLetter, Event
from schemas.tables import TIME
from tests.transforms.breaker.test_history import receipt
from transforms.io.clickhouse import Client, Patience, QueryError, connect, shared
from transforms.io.migrate import migrate
from transforms.sink.rows import event_rows, letter_rows

NOW = datetime.now(UTC)
MICROS = int(NOW.timestamp() * 1e6)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def store(client: Client, *numbers: int, arrived: timedelta = timedelta(0), inserted: timedelta = timedelta(minutes=5)) -> None:
    """Insert events that arrived, and were inserted, so long ago."""
    arrival = int((NOW - arrived).timestamp() * 1e6)
    events = [Event(1, number.to_bytes(16), "e", "d", arrival, arrival, b"{}", "", False, 0, 7, number, 0) for number in numbers]
    rows = event_rows(events).append_column("inserted_at", pa.array([NOW - inserted] * len(events), TIME))
    client.insert("events", rows)


def reject(client: Client, count: int, age: timedelta, body: bytes = b"{}", reason: str = "missing_token", receipt: int = 1) -> None:
    letters = [DeadLetter(0, reason, "", "ParseEvents", body, MICROS, receipt, offset, 0) for offset in range(count)]
    client.insert("dead_letters", letter_rows(letters).append_column("inserted_at", pa.array([NOW - age] * count, TIME)))


def is_well(finding: Finding) -> bool:
    assert (finding.level == Level.OK) == (not finding.todo), "whatever is not well has something to do about it"
    return finding.level == Level.OK


def test_a_deployment_that_is_well(client: Client, tmp_path: Path) -> None:
    (tmp_path / "teams.toml").write_text('[[teams]]\nid = 1\ntokens = ["phc_a"]\n')
    store(client, 1, 2, 3)
    findings = examine(client, teams=str(tmp_path / "teams.toml"))
    assert [finding.what for finding in findings if not is_well(finding) and finding.name != "disks"] == []
    assert len(findings) == len({finding.name for finding in findings}) == 17


def test_a_server_that_does_not_answer_is_a_failure_and_the_rest_goes_on(tmp_path: Path) -> None:
    findings = examine(connect("clickhouse://u:sesame@127.0.0.1:1/d", Patience(0.1)), ["pubsub://"], "open")
    assert [(finding.name, finding.level) for finding in findings] == [
        ("version", Level.FAILURE), ("registry", Level.OK), ("source", Level.FAILURE),
    ]  # fmt: skip
    assert "sesame" not in str(findings)
    assert all(finding.todo for finding in findings if finding.level == Level.FAILURE)


def test_a_check_that_cannot_be_made_is_a_failure_under_its_own_name(client: Client) -> None:
    names = {finding.name for finding in examine(client)}
    client.command("DROP TABLE dead_letters")
    findings = examine(client)
    failed = {finding.name for finding in findings if "refused the query" in finding.what}
    assert failed == {"letters", "unknown tokens"}
    assert {finding.name for finding in findings} == names


def test_a_server_that_is_too_old(old_url: str) -> None:
    client = connect(old_url)
    finding = server.check_version(client)
    client.close()
    assert finding.level == Level.FAILURE
    assert "is ClickHouse 18." in finding.what


def test_a_schema_that_is_older_newer_or_missing(chdb_url: str) -> None:
    client = shared(chdb_url)
    assert server.check_schema(client).level == Level.FAILURE
    assert {"schema", "version", "clock"} <= {finding.name for finding in examine(client)}, "nothing stumbles over missing tables"
    migrate(client)
    assert is_well(server.check_schema(client))
    client.command("INSERT INTO sluice_migrations (version, name) SELECT 9999, 'later'")
    finding = server.check_schema(client)
    assert (finding.level, "9999" in finding.what) == (Level.FAILURE, True)
    client.command("TRUNCATE TABLE sluice_migrations")
    client.command("INSERT INTO sluice_migrations (version, name) SELECT 1, 'events'")
    finding = server.check_schema(client)
    assert (finding.level, finding.todo) == (Level.FAILURE, "run `sluice migrate`")


@pytest.mark.parametrize(
    ("seconds", "level"), [(0, Level.OK), (59, Level.OK), (-70, Level.WARNING), (299, Level.WARNING), (301, Level.FAILURE)]
)
def test_clocks_that_differ(client: Client, seconds: int, level: Level) -> None:
    finding = server.check_clock(client, lambda: time.time_ns() // 1000 + seconds * 1_000_000)
    assert finding.level == level
    assert ("behind" if seconds < 0 else "ahead") in finding.what or not seconds


def test_a_disk_that_is_full(client: Client) -> None:
    """Every disk has more than nothing on it: the limits are what is made too small here."""
    assert server.check_disks(client, (1.1, 1.2)).level == Level.OK
    assert server.check_disks(client, (1e-9, 1.2)).level == Level.WARNING
    finding = server.check_disks(client, (1e-9, 1e-9))
    assert finding.level == Level.FAILURE
    assert "GiB are free" in finding.what


def test_parts_that_pile_up(client: Client) -> None:
    client.command("SYSTEM STOP MERGES usage")
    client.command("ALTER TABLE usage MODIFY SETTING parts_to_throw_insert = 10")
    for number in range(5):
        assert is_well(server.check_parts(client)), number
        store(client, number)
    finding = server.check_parts(client)
    assert (finding.level, finding.what) == (Level.WARNING, "usage, partition all: 5 parts; inserts are refused from 10 on")
    for number in range(5, 9):
        store(client, number)
    assert server.check_parts(client).level == Level.FAILURE
    client.command("SYSTEM START MERGES usage")


def test_a_table_that_is_read_only(client: Client) -> None:
    assert is_well(server.check_read_only(client))
    client.command("ALTER TABLE outcomes MODIFY SETTING table_readonly = 1")
    finding = server.check_read_only(client)
    assert (finding.level, finding.what) == (Level.FAILURE, "read-only: outcomes")
    client.command("ALTER TABLE outcomes MODIFY SETTING table_readonly = 0")
    assert is_well(server.check_read_only(client))


def test_a_mutation_that_fails_again_and_again(client: Client) -> None:
    store(client, 1)
    assert is_well(server.check_mutations(client))
    with pytest.raises(QueryError, match="THROW"):
        client.command("ALTER TABLE events UPDATE properties = toString(throwIf(team_id = 1)) WHERE 1 SETTINGS mutations_sync = 1")
    finding = server.check_mutations(client)
    assert finding.level == Level.FAILURE
    assert finding.what.startswith("1 stuck; of events, mutation_")
    client.command("KILL MUTATION WHERE table = 'events' SYNC")
    assert is_well(server.check_mutations(client))


def test_more_inserts_than_are_remembered(client: Client) -> None:
    client.command("ALTER TABLE event_ids MODIFY SETTING non_replicated_deduplication_window = 10")
    for number in range(1, 12):
        store(client, number, inserted=timedelta(minutes=2, microseconds=number))
        level = server.check_insert_window(client).level
        assert level == (Level.OK if number < 2 else Level.WARNING if number < 10 else Level.FAILURE), number
    assert "event_ids recognises its last 10 inserts" in server.check_insert_window(client).what


def test_ids_that_are_missing_in_the_window(client: Client) -> None:
    store(client, 1, 2, 3, arrived=3 * DAY, inserted=3 * DAY)
    store(client, 4, inserted=timedelta(0))  # may be in one table before it is in the other
    client.command("ALTER TABLE event_ids DELETE WHERE inserted_at > now() - INTERVAL 1 MINUTE SETTINGS mutations_sync = 1")
    assert is_well(tables.check_window(client))
    client.command("ALTER TABLE event_ids DELETE WHERE _offset = 2 SETTINGS mutations_sync = 1")
    finding = tables.check_window(client)
    assert finding.level == Level.FAILURE
    assert finding.what == f"ids are missing in event_ids: 1 of {(NOW - 3 * DAY).date()}"
    client.command("ALTER TABLE events DELETE WHERE _offset IN (2, 3) SETTINGS mutations_sync = 1")
    gone = f"ids are listed of events that are gone, and cannot be ingested again: 2 of {(NOW - 3 * DAY).date()}"
    assert tables.check_window(client).what == gone


def test_events_from_the_future(client: Client) -> None:
    store(client, 1, arrived=-timedelta(minutes=4))
    assert is_well(tables.check_arrivals(client))
    store(client, 2, arrived=-3 * HOUR)
    finding = tables.check_arrivals(client)
    assert (finding.level, finding.what) == (Level.WARNING, "1 events arrived in the future, up to 3 hours")


def test_a_compaction_that_is_overdue(client: Client) -> None:
    client.command("DROP TABLE IF EXISTS compactions")
    assert is_well(tables.check_compaction(client)), "a schema without it"
    client.command("CREATE TABLE compactions (full Bool, finished_at DateTime64(6, 'UTC')) ENGINE = MergeTree ORDER BY finished_at")
    assert is_well(tables.check_compaction(client)), "an empty database"
    store(client, 1, arrived=2 * DAY, inserted=2 * DAY)
    assert tables.check_compaction(client).level == Level.WARNING, "never"
    for days, level in ((8, Level.FAILURE), (3, Level.WARNING), (0.5, Level.OK)):
        client.command("INSERT INTO compactions SELECT false, now64(6)")
        client.command(f"INSERT INTO compactions SELECT true, now64(6) - INTERVAL {int(days * 24)} HOUR")
        assert tables.check_compaction(client).level == level, days


def test_receipts_that_are_stuck(client: Client) -> None:
    topic, file = "kafka://cluster/topic/0", "/data/a.jsonl"
    receipt(client, 1, topic, HOUR / 2, {}, status=0)
    receipt(client, 2, "pubsub://p/s", 2 * HOUR, {}, status=0)
    assert is_well(tables.check_receipts(client)), "young, or delivered again in another one"
    receipt(client, 3, topic, 2 * HOUR, {}, status=0)
    receipt(client, 4, file, 3 * HOUR, {}, status=0)
    finding = tables.check_receipts(client)
    assert (finding.level, finding.what) == (Level.WARNING, f"2 are open, the oldest since 3 hours, of {file}")
    for number, source in ((5, topic), (6, file)):  # a later run read the same
        receipt(client, number, source, HOUR, {})
    assert is_well(tables.check_receipts(client))


def test_dead_letters_that_become_more_or_vanish_soon(client: Client) -> None:
    reject(client, 99, timedelta(0))
    assert is_well(tables.check_letters(client)), "few"
    reject(client, 23 * 50, 5 * HOUR, receipt=2)
    reject(client, 40, timedelta(0), receipt=3)
    assert is_well(tables.check_letters(client)), "no more than usual"
    reject(client, 20, timedelta(0), receipt=4)
    assert tables.check_letters(client).level == Level.WARNING, "159 against 50 an hour"
    client.command("TRUNCATE TABLE dead_letters")
    reject(client, 1, 22 * DAY)
    finding = tables.check_letters(client)
    assert (finding.level, "1 are deleted within 7 days" in finding.what) == (Level.WARNING, True)


def test_an_unknown_token_that_looks_like_a_missing_team(client: Client) -> None:
    reject(client, 99, HOUR, b'{"token": "phc_rarely_seen", "event": "e"}', "unknown_token")
    reject(client, 500, 2 * DAY, b'{"token": "phc_long_ago", "event": "e"}', "unknown_token", receipt=2)
    reject(client, 500, HOUR, b'{"token": "phc_known", "event": 7}', "schema_validation_failed", receipt=3)
    assert is_well(tables.check_unknown_tokens(client))
    reject(client, 100, HOUR, b'{"now": "", "data": "{\\"api_key\\":\\"phc_secret_or_not\\"}"}', "unknown_token", receipt=4)
    finding = tables.check_unknown_tokens(client)
    assert (finding.level, finding.what) == (Level.WARNING, "1 tokens sent many events in the last day: phc_secr... (100)")


@pytest.mark.parametrize(
    ("text", "level", "says"),
    [
        ('[[teams]]\nid = 1\ntokens = ["a", "b"]\n', Level.OK, "1 teams, 2 tokens"),
        ('[[teams]]\nid = 1\ntokens = ["a"]\n[[teams]]\nid = 2\ntokens = []\n', Level.WARNING, "without a token: team 2"),
        ('[[teams]]\nid = 1\ntokens = ["a"]\n[[teams]]\nid = 2\ntokens = ["a"]\n', Level.FAILURE, "gives token 1 of team 2 to team 1 too"),
        ("teams = []", Level.FAILURE, "0 teams"),
        ("<html>", Level.FAILURE, "cannot be read"),
    ],
    ids=["good", "mute", "twice", "empty", "rubbish"],
)
def test_registries(tmp_path: Path, text: str, level: Level, says: str) -> None:
    path = tmp_path / "teams.toml"
    path.write_text(text)
    finding = check_registry(str(path))
    is_well(finding)
    assert (finding.level, says in finding.what) == (level, True), finding


def test_a_registry_that_is_not_there(tmp_path: Path) -> None:
    assert check_registry(str(tmp_path / "none.toml")).level == Level.FAILURE
    assert check_registry("open").level == Level.OK
