"""ClickHouse alone: its own `INSERT ... SELECT FROM file(JSONEachRow)` of the same lines into the same table. The limit."""

from transforms.io.clickhouse import shared
from transforms.io.migrate import migrate

COLUMNS = r"uuid UUID, event String, distinct_id String, timestamp DateTime64(6, \'UTC\'), properties String"


def warm_up(sink: str) -> None:
    """Create the tables, and let the engine do once what it does on the first insert of a process."""
    client = shared(sink)
    migrate(client)
    client.command("INSERT INTO events (uuid, event) SELECT generateUUIDv4(), 'warm up' FROM numbers(1000)")


def stored(sink: str) -> int:
    """Return how many rows `events` has."""
    return int(shared(sink).rows("SELECT count() FROM events")[0][0])


def run(files: list[str], sink: str) -> int:
    """Insert JSON lines into `events` of a chdb folder; return how many rows came of them."""
    before = stored(sink)
    for file in files:
        shared(sink).command(
            "INSERT INTO events (uuid, event, distinct_id, timestamp, properties)"
            f" SELECT uuid, event, distinct_id, timestamp, properties FROM file('{file}', 'JSONEachRow', '{COLUMNS}')"
            " SETTINGS date_time_input_format = 'best_effort', input_format_json_read_objects_as_strings = 1,"
            " input_format_allow_errors_num = 1000000000, max_partitions_per_insert_block = 0"
        )
    return stored(sink) - before
