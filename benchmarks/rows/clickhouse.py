"""ClickHouse alone: its own `INSERT ... SELECT FROM file(JSONEachRow)` of the same lines into the same table. The limit."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.rows import Job, Load
from transforms.io.clickhouse import shared
from transforms.io.migrate import migrate

COLUMNS = ", ".join(f"{name} String" for name in ("uuid", "event", "distinct_id", "timestamp", "properties"))


def warm_up(folder: str) -> str:
    """Create the tables in a folder, and let the engine do once what it does on the first insert of a process; return the sink."""
    client = shared(f"chdb:{folder}")
    migrate(client)
    client.command("INSERT INTO events (uuid, event) SELECT generateUUIDv4(), 'warm up' FROM numbers(1000)")
    return f"chdb:{folder}"


def stored(sink: str) -> int:
    """Return how many rows `events` has, without those of `warm_up`."""
    return int(shared(sink).rows("SELECT count() FROM events WHERE event != 'warm up'")[0][0])


def insert_file(file: str, sink: str, who: str = "distinct_id") -> None:
    """Insert JSON lines into `events`; `who` is an expression for the distinct id."""
    shared(sink).command(
        "INSERT INTO events (uuid, event, distinct_id, timestamp, properties)"
        f" SELECT ifNull(toUUIDOrNull(uuid), generateUUIDv4()), event, {who},"
        f" parseDateTime64BestEffortOrZero(timestamp, 6, 'UTC'), properties"
        f" FROM file('{file}', 'JSONEachRow', '{COLUMNS}')"
        " SETTINGS input_format_json_read_objects_as_strings = 1, input_format_json_read_numbers_as_strings = 1,"
        " max_partitions_per_insert_block = 0"
    )


@contextmanager
def ready(load: Load, folder: str) -> Iterator[Job]:
    """Yield the job."""
    sink = warm_up(folder)

    def run() -> None:
        for file in load.files:
            insert_file(file, sink)

    yield Job(run, lambda: stored(sink))
