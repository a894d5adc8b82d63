"""Usage as the tables tell it."""

from schemas.event import Event
from transforms.io.clickhouse import Client
from transforms.limits.usage import MAX_READ, Usage
from transforms.sink.rows import event_rows

HOUR = 1_795_000_000 // 3600 * 3600


def store(client: Client, counts: dict[tuple[int, int], int]) -> None:
    """Store events as an insert of the sink does."""
    events = [
        Event(team, number.to_bytes(16), "e", "d", 0, (hour + number % 3600) * 1_000_000 + 999_999, b"{}", "", False, 0, 7, number, 0)
        for (team, hour), count in counts.items()
        for number in range(count)
    ]
    client.insert("events", event_rows(events))


def test_stored_events_are_counted_by_team_and_hour_of_arrival(client: Client) -> None:
    counts = {(1, HOUR): 5, (2, HOUR): 3, (1, HOUR + 3600): 2, (2**63 - 1, HOUR): 1}
    store(client, counts)
    assert Usage(client).read(counts) == counts


def test_only_what_was_asked_for_is_told(client: Client) -> None:
    store(client, {(1, HOUR): 5, (2, HOUR): 3, (1, HOUR + 3600): 2})
    assert Usage(client).read([(1, HOUR), (2, HOUR + 3600), (3, HOUR)]) == {(1, HOUR): 5}


def test_later_inserts_add_up(client: Client) -> None:
    for count in (5, 7, 1):
        store(client, {(1, HOUR): count})
    assert Usage(client).read([(1, HOUR)]) == {(1, HOUR): 13}


def test_nothing_asked_nothing_told(client: Client) -> None:
    assert Usage(client).read([]) == {}


def test_many_teams_and_hours_are_read_though_no_query_could_name_them_all(client: Client) -> None:
    """ClickHouse refuses a query of more than 256 KiB."""
    count = 3 * MAX_READ + 7
    teams = [(2**62 + number, HOUR + number % 5 * 3600) for number in range(count)]
    hour = f"toDateTime({HOUR} + number % 5 * 3600)"
    client.command(f"INSERT INTO usage (team_id, hour, events) SELECT {2**62} + number, {hour}, 1 + number FROM numbers({count})")
    assert Usage(client).read(teams) == {team_hour: 1 + number for number, team_hour in enumerate(teams)}
