"""JSON to the fields that the rules read; everything else stays bytes."""

import re
from hashlib import sha1
from itertools import pairwise
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Raw, field
from msgspec.structs import astuple

from schemas.errors import Rejected
from schemas.limits import MAX_BATCH_EVENTS, MAX_DEEP_PARTS, MAX_DEPTH, MAX_MESSAGE_BYTES
from schemas.persons import APP, CAMPAIGN
from schemas.reasons import Reason
from transforms.escapes import mend_escapes
from transforms.parse.structure import CLOSING

try:
    from transforms.parse.nesting import edges
except ImportError:  # it was not compiled
    from transforms.parse.structure import edges

NOTHING = Raw(b"")
SPACE = b" \t\r\n"
CLIENT_WARNING = "$$client_ingestion_warning"


class Fields(msgspec.Struct, gc=False):
    """What is read of a message: an event, an envelope or a batch. Any value may be of any type."""

    uuid: Any = None
    event: Any = None
    distinct_id: Any = None
    dollar_distinct_id: Any = field(name="$distinct_id", default=None)
    timestamp: Any = None
    offset: Any = None
    token: Any = None
    dollar_token: Any = field(name="$token", default=None)
    api_key: Any = None
    properties: Raw = NOTHING
    set: Raw = field(name="$set", default=NOTHING)
    set_once: Raw = field(name="$set_once", default=NOTHING)
    unset: Raw = field(name="$unset", default=NOTHING)
    sent_at: Any = None
    ignore_sent_at: Any = field(name="$ignore_sent_at", default=None)
    historical_migration: Any = None
    batch: Raw = NOTHING
    data: Any = None
    now: Any = None
    ip: Any = None


class Properties(msgspec.Struct, gc=False):
    """What is read of an event's properties."""

    token: Any = None
    distinct_id: Any = None
    profile: Any = field(name="$process_person_profile", default=None)
    elements_chain: Any = field(name="$elements_chain", default=None)
    ignore_sent_at: Any = field(name="$ignore_sent_at", default=None)
    ip: Raw = field(name="$ip", default=NOTHING)
    set: Raw = field(name="$set", default=NOTHING)
    set_once: Raw = field(name="$set_once", default=NOTHING)
    unset: Raw = field(name="$unset", default=NOTHING)
    warning: Any = field(name="$$client_ingestion_warning_message", default=None)
    groups: Raw = field(name="$groups", default=NOTHING)


# Properties, and those that are copied to the person wherever they are.
_Known = cast(
    type[Properties],
    msgspec.defstruct(
        "_Known",
        [(f"copied_{place}", Raw, field(name=name, default=NOTHING)) for place, name in enumerate(CAMPAIGN + APP)],
        bases=(Properties,),
        gc=False,
    ),
)
_NOTHING_COPIED = (NOTHING,) * len(CAMPAIGN + APP)
_FIRST_COPIED = len(Properties.__struct_fields__)

Kind = TypeVar("Kind", Fields, Properties)


class _Body(msgspec.Struct, gc=False):
    """The one field of a message that may be large: nothing else of it is made."""

    batch: Raw = NOTHING


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_fields = msgspec.json.Decoder(Fields).decode
_decode_properties = msgspec.json.Decoder(_Known).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_any = msgspec.json.Decoder().decode


def fields_of(raw: bytes) -> Fields:
    """Return the fields of a JSON object.

    Raises:
        Rejected: malformed_body.
        RecursionError: it is too deep.
    """
    try:
        return _decode_fields(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _decode_patiently(raw, Fields)


def properties_of(raw: bytes) -> Properties:
    """Return the fields of an event's properties.

    Raises:
        Rejected: malformed_body; malformed_event_properties if they are too deep.
    """
    try:
        return _decode_properties(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _decode_patiently(raw, _Known)
    except RecursionError as error:
        raise refuse(error) from None


def copied_of(known: Properties) -> tuple[int | bytes, ...]:
    """Return the campaign and app properties that are there and not null: (place in COPIED, JSON) one after the other."""
    values = astuple(known)[_FIRST_COPIED:]
    if values == _NOTHING_COPIED:
        return ()
    found: list[int | bytes] = []
    for place, raw in enumerate(values):
        if raw is not NOTHING and (value := bytes(raw)) != b"null":
            found += (place, value)
    return tuple(found)


def envelope_of(raw: bytes) -> Fields:
    """Return the fields of a message. Of a batch, `batch` is a JSON array as it came, in which single events may be no JSON.

    Raises:
        Rejected: malformed_body; message_size_too_large if it has too much beside a batch: ten million values of a field that nobody reads
            would be made.
        RecursionError: it is too deep.
    """
    batch = None
    try:
        if len(raw) > MAX_MESSAGE_BYTES:
            _check_size(len(raw) - len(bytes(_decode_body(raw).batch)))
        return _decode_fields(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        batch = _batch_in(raw)
        if batch is None:
            if len(raw) > MAX_MESSAGE_BYTES:
                raise refuse(error) from None
            return _decode_patiently(raw, Fields)
    _check_size(len(raw) - (batch.stop - batch.start))
    fields = _decode_patiently(b"%b[]%b" % (raw[: batch.start], raw[batch.stop :]), Fields)
    fields.batch = Raw(raw[batch])
    return fields


def _check_size(size: int) -> None:
    if size > MAX_MESSAGE_BYTES:
        raise Rejected(Reason.MESSAGE_SIZE_TOO_LARGE, f"the message has {size} bytes beside its batch, the limit is {MAX_MESSAGE_BYTES}")


def elements(raw: bytes) -> list[bytes]:
    """Return the elements of a JSON array as they came. If one of them is no JSON, the others are returned all the same.

    Raises:
        Rejected: malformed_body; body_too_large if there are more than MAX_BATCH_EVENTS.
        RecursionError: it is too deep.
    """
    commas = raw.count(b",")
    if commas > MAX_BATCH_EVENTS and commas > len(raw) // 20:  # rubbish, and too much of it to hold: no event is that small
        return _split(raw)
    try:
        found = _decode_list(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        try:
            return _split(raw)
        except ValueError:
            raise refuse(error) from None
    if len(found) > MAX_BATCH_EVENTS:
        raise _too_many()
    return [bytes(each) for each in found]


_BATCH_FOLLOWS = re.compile(rb'"batch"\s*:\s*\[\Z')
_NAME_BYTES = 100  # of `"batch"` and the space after it


def _batch_in(raw: bytes) -> slice | None:
    """Return where the value of an object's member `batch` is, if that is an array that ends."""
    found = None
    places = edges(raw, 2, commas=False, most=2 * MAX_BATCH_EVENTS) or []
    for start, end in zip(places[::2], places[1::2], strict=False):
        if _BATCH_FOLLOWS.search(raw, max(0, start - _NAME_BYTES), start + 1):
            found = slice(start, end + 1)
    return found


def _split(raw: bytes) -> list[bytes]:
    """Return what is between the commas of an array, be it JSON or not.

    Raises:
        ValueError: its brackets do not match.
        Rejected: body_too_large.
    """
    places = edges(raw, 1, commas=True, most=MAX_BATCH_EVENTS + 1)
    if places is None:
        raise _too_many()
    end = next((number for number, place in enumerate(places) if raw[place] in CLOSING), None)
    if end is None or raw[places[end] + 1 :].strip(SPACE):
        raise ValueError("the brackets do not match")
    return [raw[start + 1 : stop].strip(SPACE) for start, stop in pairwise(places[: end + 1])]


def _too_many() -> Rejected:
    return Rejected(Reason.BODY_TOO_LARGE, f"the batch has more than {MAX_BATCH_EVENTS} events")


def _decode_patiently(raw: bytes, kind: type[Kind]) -> Kind:
    """Return the fields of an object that the fast decoder refuses: escapes that no text can hold, and numbers that are out of range.

    Raises:
        Rejected: malformed_body if it is no JSON object.
    """
    try:
        found = _decode_object(mend_escapes(raw))
        return kind(**{name: found[text] if is_raw else _value(found[text]) for name, text, is_raw in _FIELDS_OF[kind] if text in found})
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refuse(error) from None


# The name of each field, its name in JSON, and whether it stays JSON.
_FIELDS_OF = {
    kind: [(known.name, known.encode_name, known.type is Raw) for known in msgspec.structs.fields(kind)] for kind in (Fields, _Known)
}


class NumberText(str):
    """A number that is out of any range, as it came."""

    __slots__ = ()


def _value(raw: Raw) -> Any:
    try:
        return _decode_any(raw)
    except msgspec.ValidationError:
        return NumberText(bytes(raw).decode())


def encode_any(value: Any) -> bytes:
    """Return the JSON of what was decoded; numbers that are out of any range are as they came."""
    return msgspec.json.encode(value, enc_hook=_number)


def _number(value: Any) -> Raw:
    if isinstance(value, NumberText):
        return Raw(value.encode())
    raise NotImplementedError(f"a {type(value).__name__} was not decoded from JSON")


def is_deep(raw: bytes) -> bool:
    """Return whether JSON is nested deeper than MAX_DEPTH."""
    # Brackets in strings count too at first: that only tells which texts are worth a closer look.
    if len(raw) <= 2 * MAX_DEPTH or raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH:
        return False
    return edges(raw, MAX_DEPTH + 1, commas=False, most=0) is None


class Shallow:
    """JSON too deep for a decoder, with what lies deeper than MAX_DEPTH set aside.

    Attributes:
        text: the JSON with a placeholder for each part that was set aside.

    Raises:
        Rejected: malformed_event_properties for more than MAX_DEEP_PARTS, each of which can be shorter than its placeholder.
    """

    def __init__(self, raw: bytes) -> None:
        self._parts: list[bytes] = []
        # Nobody can write a text that holds its own hash, so no client can pass a string off as a placeholder.
        name = b"\\u0000deep " + sha1(raw).hexdigest().encode()
        self._placeholder = re.compile(rb'"%b (\d+)"' % re.escape(name))
        places = edges(raw, MAX_DEPTH + 1, commas=False, most=2 * MAX_DEEP_PARTS)
        if places is None:
            raise refuse(RecursionError())
        pieces = []
        kept = 0
        for start, end in zip(places[::2], places[1::2], strict=False):
            pieces += [raw[kept:start], b'"%b %d"' % (name, len(self._parts))]
            kept = end + 1
            self._parts.append(raw[start:kept])
        if len(places) % 2:  # it never closes: what is left is no JSON
            pieces.append(raw[kept : places[-1]])
            kept = len(raw)
        self.text = b"".join([*pieces, raw[kept:]])

    def restored(self, raw: bytes) -> bytes:
        """Return a part of the text as it was."""
        return self._placeholder.sub(lambda found: self._parts[int(found[1])], raw)

    def is_whole(self, raw: bytes) -> bool:
        """Return whether nothing was set aside in a part of the text."""
        return self._placeholder.search(raw) is None


def refuse(error: Exception) -> Rejected:
    """Return the rejection for JSON that cannot be decoded."""
    if isinstance(error, RecursionError):
        return Rejected(Reason.MALFORMED_EVENT_PROPERTIES, f"nested deeper than {MAX_DEPTH}")
    if isinstance(error, UnicodeDecodeError):
        return Rejected(Reason.MALFORMED_BODY, f"not UTF-8: byte {error.object[error.start]:#04x}")
    return Rejected(Reason.MALFORMED_BODY, f"not a JSON object: {error}")
