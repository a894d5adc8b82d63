"""What the rows of other engines share, so that they differ in the engine alone: a line to a row, rows to an insert."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import ciso8601
import msgspec
import pyarrow as pa

from schemas.tables import EVENTS
from transforms.io.clickhouse import shared

AT_ONCE = 20_000  # rows an insert
SCHEMA = pa.schema([EVENTS.field(name) for name in ("uuid", "event", "distinct_id", "timestamp", "properties")])

DistinctId = str | int | float | None
EventRow = tuple[bytes, str, str, datetime, bytes]


class _Properties(msgspec.Struct, gc=False):
    distinct_id: DistinctId = None


class _Event(msgspec.Struct, gc=False):
    event: str
    properties: msgspec.Raw
    token: str
    uuid: str | None = None
    distinct_id: DistinctId = None
    timestamp: str | None = None


class _Id(msgspec.Struct, gc=False):
    token: str
    uuid: str | None = None


_event = msgspec.json.Decoder(_Event)
_id = msgspec.json.Decoder(_Id)
_properties = msgspec.json.Decoder(_Properties)


def parse(line: bytes | str) -> tuple[str, EventRow]:
    """Return an event's id, which begins with its team's token, and its row. An event without UUID or time gets one."""
    event = _event.decode(line)
    uuid = _uuid(event.uuid)
    who = event.distinct_id if event.distinct_id is not None else _properties.decode(event.properties).distinct_id
    return f"{event.token}:{uuid.hex()}", (uuid, event.event, str(who), _time(event.timestamp), bytes(event.properties))


def identify(line: bytes | str) -> str:
    """Return an event's id alone."""
    event = _id.decode(line)
    return f"{event.token}:{_uuid(event.uuid).hex()}"


def _uuid(text: str | None) -> bytes:
    if not text:
        return uuid4().bytes
    return bytes.fromhex(text.replace("-", "")) if len(text) == 36 else UUID(text).bytes


def _time(text: str | None) -> datetime:
    try:
        return ciso8601.parse_datetime(text or "")
    except ValueError:
        return datetime.now(UTC)


def insert(sink: str, rows: Iterable[EventRow]) -> None:
    """Insert rows as one block."""
    columns = [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)]
    shared(sink).insert("events", pa.Table.from_arrays(columns, schema=SCHEMA))


def lines(files: Iterable[str]) -> Iterator[bytes]:
    """Return the lines of files."""
    for file in files:
        with open(file, "rb") as opened:
            yield from opened


def unique(files: Iterable[str]) -> int:
    """Return how many ids there are among the events of files: what a row has to store."""
    return len(set(map(identify, lines(files))))
