"""Every state that a batch can be in when its process dies, from the broker to the acknowledgement; and a worker that dies there.

`python -m tests.faults.crash_points ingest ...` is `sluice ingest` with such a worker: it kills itself, as `kill -9` does, when it comes to
the point that is named in the file `armed` of the folder CRASH_FOLDER, once. Nothing of the code under test knows of it.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import clickhouse_driver

FOLDER = "CRASH_FOLDER"
SINK = "CRASH_SINK"
Arguments = tuple[Any, ...]


def always(arguments: Arguments) -> bool:
    return True


class Point(NamedTuple):
    """Before or after a call: of `target`, `module:name` or `module:Class.name`, with arguments for which `of` holds."""

    target: str
    when: str
    of: Callable[[Arguments], bool] = always


def into(table: str) -> Callable[[Arguments], bool]:
    return lambda arguments: bool(arguments[1] == table)


def of_events(arguments: Arguments) -> bool:
    """Whether a driver's `send_data` sends rows of `events`."""
    return "person_mode" in arguments[2][0].column_names


def of_acknowledgement(arguments: Arguments) -> bool:
    return len(arguments[1]) > 0


def acknowledges(arguments: Arguments) -> bool:
    return bool(arguments[1] == "acknowledge")


def has_news(arguments: Arguments) -> bool:
    fetcher = arguments[0]
    return any(offsets.done > fetcher._committed.get(partition, -1) for partition, offsets in fetcher._offsets.items())


INSERT = "transforms.io.clickhouse.server:ServerClient.insert"
LEDGER = "transforms.receipts.ledger:Ledger."
COMMIT = "transforms.io.kafka.fetcher:KafkaFetcher._commit"
CALL = "transforms.io.pubsub.fetcher:PubSubFetcher._call"
SEND = "transforms.io.clickhouse.native:Driver.send_data"

EVERY_SOURCE = {
    "read, its receipt not opened": Point(LEDGER + "open_stream", "before"),
    "its receipt opened": Point(LEDGER + "open_stream", "after"),
    "parsed": Point("transforms.parse.transform:count_outcomes", "after"),
    "limited": Point("transforms.limits.rules:Limiter.enforce", "after"),
    "persons resolved": Point("transforms.persons.resolve_persons:resolve", "after"),
    "properties applied": Point("transforms.persons.apply_person_properties:apply_properties", "after"),
    "judged": Point("transforms.dedupe.filter:DuplicateFilter.judge", "after"),
    "dead letters inserted": Point(INSERT, "after", into("dead_letters")),
    "warnings inserted": Point(INSERT, "after", into("ingestion_warnings")),
    "person properties inserted": Point(INSERT, "after", into("person_properties")),
    "person links inserted": Point(INSERT, "after", into("person_links")),
    "groups inserted": Point(INSERT, "after", into("group_properties")),
    "before the insert of events": Point(INSERT, "before", into("events")),
    "events sent, not to the end": Point(SEND, "halfway", of_events),
    "events stored, not confirmed": Point(SEND, "stored", of_events),
    "events stored and confirmed": Point(INSERT, "after", into("events")),
    "reported": Point(LEDGER + "acknowledge", "before", of_acknowledgement),
    "outcomes inserted": Point(INSERT, "after", into("outcomes")),
    "receipt acknowledged in the tables": Point(LEDGER + "acknowledge", "after", of_acknowledgement),
}
OF_KAFKA = {"before the commit of offsets": Point(COMMIT, "before", has_news), "offsets committed": Point(COMMIT, "after", has_news)}
OF_PUBSUB = {
    "before the acknowledgement": Point(CALL, "before", acknowledges),
    "acknowledged": Point(CALL, "after", acknowledges),
}
POINTS = EVERY_SOURCE | OF_KAFKA | OF_PUBSUB


def arm(folder: Path, name: str) -> None:
    """Have the worker die at a point."""
    (folder / "next").write_text(name)
    (folder / "next").rename(folder / "armed")


def has_died(folder: Path) -> bool:
    return not (folder / "armed").exists()


def die_at(name: str) -> None:
    """Die, if it is this point's turn."""
    armed = Path(os.environ[FOLDER], "armed")
    try:
        if armed.read_text() != name:
            return
        armed.rename(armed.with_name("died"))  # of several threads, one
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()  # the signal is on its way: nothing more is done here


def patch(name: str, point: Point) -> None:
    """Wrap the point's function."""
    module, _, path = point.target.partition(":")
    owner: Any = import_module(module)
    *outer, attribute = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    inner = getattr(owner, attribute)

    @wraps(inner)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        is_meant = point.of(arguments)
        if is_meant and point.when == "before":
            die_at(name)
        if is_meant and point.when == "halfway":
            die_after_one_block(name, arguments[0].connection)
        result = inner(*arguments, **named)
        if is_meant and point.when == "stored" and is_armed(name):
            wait_for_rows(arguments[2][0])
        if is_meant and point.when in ("after", "stored"):
            die_at(name)
        return result

    setattr(owner, attribute, wrapped)


def die_after_one_block(name: str, connection: Any) -> None:
    """Have a driver's connection send the rows, and die before it tells that there are no more."""
    send = type(connection).send_data

    def send_data(*arguments: Any, **named: Any) -> None:
        send(connection, *arguments, **named)
        die_at(name)

    connection.send_data = send_data


def is_armed(name: str) -> bool:
    armed = Path(os.environ[FOLDER], "armed")
    return armed.exists() and armed.read_text() == name


def wait_for_rows(rows: Any) -> None:
    """Return when another connection sees the rows: they are stored, and only the answer is missing."""
    receipts = ",".join(map(str, rows["_receipt"].unique().to_pylist()))
    with clickhouse_driver.Client.from_url(os.environ[SINK]) as client:
        while client.execute(f"SELECT count() FROM events WHERE _receipt IN ({receipts})")[0][0] < len(rows):
            threading.Event().wait(0.01)


def main() -> None:
    if len(sys.argv) == 1:  # the options come by standard input
        from runners import worker

        for name, point in POINTS.items():
            patch(name, point)
        worker.main()
    else:
        from runners import cli, supervisor

        supervisor.WORKER = "tests.faults.crash_points"
        cli.main()


if __name__ == "__main__":
    main()
