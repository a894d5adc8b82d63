"""Records of Avro and Parquet files in, messages and their arrival times out."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import ciso8601
import msgspec

from schemas.limits import LATEST_ARRIVAL
from transforms.io.files.pieces import Piece

# A record with one of these, the first that it has, is only the envelope of a raw message; unless it has an `event`.
RAW_FIELDS = ("body", "message", "payload", "value")
EVENT_FIELD = "event"
ARRIVAL_FIELD = "now"  # of an envelope

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SCALARS = frozenset({str, int, float, bool})
# Integers are seconds, milliseconds or microseconds, by their size: the limits are 5138 as seconds, and 1973 as milliseconds.
_MOST_SECONDS, _MOST_MILLIS = 10**11, 10**14

_encode = msgspec.json.Encoder(decimal_format="number").encode


class Shape:
    """How a file's records become messages: each is one, or the envelope of one.

    Args:
        fields: the records' fields, and whether they hold text or bytes.

    Attributes:
        raw: the field with the raw message, or None.
        has_arrival: whether another holds its arrival time.
    """

    def __init__(self, fields: Mapping[str, bool]) -> None:
        names = () if EVENT_FIELD in fields else RAW_FIELDS
        self.raw = next((name for name in names if fields.get(name)), None)
        self.has_arrival = self.raw is not None and ARRIVAL_FIELD in fields

    def piece(self, messages: list[Any], nows: list[Any], offsets: Sequence[int], otherwise: int) -> Piece:
        """Return messages.

        Args:
            messages: values of the raw field, or records if there is none.
            nows: values of the field with the arrival, or nothing if there is none.
            offsets: of the messages.
            otherwise: the arrival of those without one.
        """
        payloads = list(map(to_payload, messages))
        return Piece(payloads, offsets, sum(map(len, payloads)), [to_arrival(now, otherwise) for now in nows])


def to_payload(value: Any) -> bytes:
    """Return a message: bytes and text as they are, records as JSON. One that is missing is empty."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    return b"" if value is None else to_json(value)


def to_json(record: Any) -> bytes:
    """Return a record as a JSON message.

    Keys whose value is null are left out at any depth: columns cannot tell null from absent. Bytes are text if they are UTF-8, else
    base64. A time without a zone is in UTC. `properties` that hold a JSON object as text become that object. What is nested
    deeper than Python goes, and so deeper than an event may be, is an empty message.
    """
    try:
        return _encode(_as_event(record) if isinstance(record, dict) else _plain(record))
    except RecursionError:
        return b""


def _as_event(record: dict[Any, Any]) -> dict[str, Any]:
    properties, uuid = record.get("properties"), record.get("uuid")
    embedded = _object(properties) if isinstance(properties, str | bytes) else None
    if embedded is not None:
        record = {**record, "properties": None}  # null is left out
    event: dict[str, Any] = _plain(record)
    if embedded is not None:
        event["properties"] = embedded
    if isinstance(uuid, bytes) and len(uuid) == 16:
        event["uuid"] = UUID(bytes=uuid)
    return event


def _plain(value: Any) -> Any:
    if type(value) in _SCALARS:
        return value
    if isinstance(value, dict):
        # Scalars are looked at here already: that saves most of the calls.
        return {
            key if type(key) is str else _key(key): inner if type(inner) in _SCALARS else _plain(inner)
            for key, inner in value.items()
            if inner is not None
        }
    if isinstance(value, bytes):
        return _text(value)
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value  # encoded as base64


def _key(key: Any) -> str:
    return key.decode(errors="replace") if isinstance(key, bytes) else str(key)


def _object(text: str | bytes) -> msgspec.Raw | None:
    """Return the JSON object that a text holds. It is checked: what is embedded must not be able to end the object early."""
    if text.lstrip()[:1] not in ("{", b"{"):
        return None
    try:
        return msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        return None


def to_arrival(value: Any, otherwise: int) -> int:
    """Return an arrival time in microseconds since 1970; `otherwise` if the value is none, or one that no table holds.

    Args:
        value: ISO 8601 text, a datetime (in UTC if it has no zone), or a number of seconds, milliseconds or microseconds.
    """
    arrival = _micros(value)
    return arrival if 0 < arrival <= LATEST_ARRIVAL else otherwise


def _micros(value: Any) -> int:
    """Return microseconds since 1970, or 0."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        try:
            value = ciso8601.parse_datetime(value)
        except ValueError:
            return 0
    if isinstance(value, datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return (aware - _EPOCH) // _MICROSECOND
    return _scaled(value) if isinstance(value, int) else 0


def _scaled(value: int) -> int:
    if value < _MOST_SECONDS:
        return value * 1_000_000
    return value * 1_000 if value < _MOST_MILLIS else value
