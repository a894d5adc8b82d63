"""The fields of an event: each rule takes what the client sent and returns what is stored, or says why it cannot be."""

import re
from binascii import unhexlify
from collections.abc import Mapping
from hashlib import sha1
from typing import Any

import msgspec

from schemas.errors import Rejected
from schemas.event import PersonMode
from schemas.limits import MAX_ACCEPTED_DISTINCT_ID, MAX_DEPTH, MAX_TOKEN_BYTES
from schemas.reasons import Reason
from transforms.escapes import mend_escapes
from transforms.parse.decode import NOTHING, Fields, Properties, encode_any, is_deep

CUT = 200  # characters of a value that a message shows

# Accepted, but nobody is tracked under them: clients send them by mistake.
ILLEGAL_DISTINCT_IDS = frozenset(
    {
        "0", "00000000-0000-0000-0000-000000000000", "[object object]", "anonymous", "anonymous-user", "backend", "distinct_id",
        "distinctid", "email", "false", "guest", "id", "nan", "none", "not_authenticated", "null", "system", "true", "undefined", "user",
    }
)  # fmt: skip

_UUID = re.compile(r"(?:urn:uuid:)?(\{)?([0-9a-f]{8})(-?)([0-9a-f]{4})\3([0-9a-f]{4})\3([0-9a-f]{4})\3([0-9a-f]{12})(?(1)\})", re.I)
_NIL = bytes(16)
ESCAPED_NUL = rb"\u0000"


def shown(value: Any) -> str:
    """Return a value as a message may show it: one line, cut."""
    text = value if isinstance(value, str) else repr(value[:CUT] if isinstance(value, list) else value)
    return repr(text[:CUT])[1:-1] + ("..." if len(text) > CUT else "")


def token(value: Any) -> str:
    """Return a token, trimmed.

    Raises:
        Rejected: missing_token or invalid_token. A token that may be a secret is not shown.
    """
    if value is None:
        raise Rejected(Reason.MISSING_TOKEN, "no token, $token, api_key or properties.token")
    if not isinstance(value, str):
        raise Rejected(Reason.INVALID_TOKEN, f"the token is a {type(value).__name__}, not a string")
    trimmed = value.strip()
    if not trimmed:
        raise Rejected(Reason.MISSING_TOKEN, "the token is empty")
    if not trimmed.isascii():
        raise Rejected(Reason.INVALID_TOKEN, "the token has characters that are not ASCII")
    if len(trimmed) > MAX_TOKEN_BYTES:
        raise Rejected(Reason.INVALID_TOKEN, f"the token has {len(trimmed)} bytes, the limit is {MAX_TOKEN_BYTES}")
    if trimmed.startswith("phx_"):
        raise Rejected(Reason.INVALID_TOKEN, "the token phx_... is a personal key, not a project's token")
    if "\0" in trimmed:
        raise Rejected(Reason.INVALID_TOKEN, "the token has a NUL")
    return trimmed


def clean(text: str) -> str:
    """Return a text without NULs: they become U+FFFD, as lone surrogates did when it was decoded."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


def event_name(value: Any) -> str:
    """Return an event's name, whole: what is over MAX_EVENT_NAME is cut by the caller, who warns.

    Raises:
        Rejected: missing_event_name; schema_validation_failed if it is not a string.
    """
    if value is None or value == "":
        raise Rejected(Reason.MISSING_EVENT_NAME, "event is missing")
    if type(value) is not str:
        raise Rejected(Reason.SCHEMA_VALIDATION_FAILED, f"event is {shown(value)}, not a string")
    return clean(value)


def distinct_id(value: Any) -> str:
    """Return a distinct id, whole: what is over MAX_DISTINCT_ID is cut by the caller, who warns.

    Raises:
        Rejected: missing_distinct_id; distinct_id_too_large from MAX_ACCEPTED_DISTINCT_ID characters on.
    """
    if value is None:
        raise Rejected(Reason.MISSING_DISTINCT_ID, "distinct_id is missing")
    text = clean(str(value) if isinstance(value, str) else msgspec.json.encode(value).decode())
    if not text or text.isspace():
        raise Rejected(Reason.MISSING_DISTINCT_ID, "distinct_id is blank")
    if len(text) > MAX_ACCEPTED_DISTINCT_ID:
        detail = f"distinct_id has {len(text)} characters, the limit is {MAX_ACCEPTED_DISTINCT_ID}: {shown(text)}"
        raise Rejected(Reason.DISTINCT_ID_TOO_LARGE, detail)
    return text


def is_illegal(text: str) -> bool:
    """Return whether person processing is off for a distinct id."""
    return text.lower() in ILLEGAL_DISTINCT_IDS


def uuid(value: Any) -> bytes | None:
    """Return an event's uuid, 16 bytes, most significant first; None if there is none and one must be made.

    Raises:
        Rejected: invalid_event_uuid; also for the nil uuid, under which every event of a broken client would be a duplicate of the first.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        if len(value) == 36 and value[8:24:5] == "----":
            try:
                found = unhexlify(value.replace("-", ""))
            except ValueError:
                raise _bad_uuid(value) from None
            if len(found) == 16 and found != _NIL:
                return found
        if match := _UUID.fullmatch(value):
            found = bytes.fromhex("".join(match.group(2, 4, 5, 6, 7)))
            if found != _NIL:
                return found
    raise _bad_uuid(value)


def _bad_uuid(value: Any) -> Rejected:
    return Rejected(Reason.INVALID_EVENT_UUID, f"uuid is {shown(value)}")


def made_uuid(milliseconds: int, *identity: bytes) -> bytes:
    """Return a UUIDv7 for an event that has none: the same each time that the same bytes are read from the same place.

    Args:
        milliseconds: since 1970, of the event; what does not fit in 48 bits counts as 0.
        identity: what tells the event from all others.
    """
    digest = bytearray(sha1(b"\0".join(identity)).digest()[:16])
    digest[:6] = (milliseconds if 0 <= milliseconds < 1 << 48 else 0).to_bytes(6)
    digest[6] = 0x70 | digest[6] & 0x0F
    digest[8] = 0x80 | digest[8] & 0x3F
    return bytes(digest)


def properties(raw: bytes) -> bytes:
    """Return a JSON object that ClickHouse and its readers can hold: escaped NULs and lone surrogates become U+FFFD.

    Raises:
        Rejected: malformed_event_properties if it is not an object or too deep; malformed_body if it is not UTF-8.
    """
    if not raw or raw == b"null":
        return b"{}"
    if raw[:1] != b"{":
        raise Rejected(Reason.MALFORMED_EVENT_PROPERTIES, f"properties is not an object: {shown(raw[:CUT].decode(errors='replace'))}")
    if is_deep(raw):
        raise Rejected(Reason.MALFORMED_EVENT_PROPERTIES, f"properties are nested deeper than {MAX_DEPTH}")
    if not raw.isascii():
        refuse_encoding(raw)
    return mend_escapes(raw) if ESCAPED_NUL in raw else raw  # of lone surrogates the decoder takes care


def refuse_encoding(raw: bytes) -> None:
    """Raise Rejected(malformed_body) for bytes that are not UTF-8."""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise Rejected(Reason.MALFORMED_BODY, f"not UTF-8: byte {raw[error.start]:#04x} at {error.start}") from None


def person_mode(profile: Any, identity: str) -> PersonMode:
    """Return the mode of an event: without a person if the client says so, by a boolean, or if its distinct id is illegal."""
    return PersonMode.PROPERTYLESS if profile is False or is_illegal(identity) else PersonMode.FULL


def with_top_level(raw: bytes, fields: Fields, known: Properties) -> bytes:
    """Return properties with what clients also send beside them: `$set`, `$set_once`, `$unset`, and the address that the edge saw.

    Where both places have an object, they are merged, and the properties' keys win.
    """
    if fields.set is NOTHING and fields.set_once is NOTHING and fields.unset is NOTHING and fields.ip is None:
        return raw
    added = {}
    for name, mine, theirs in (
        ("$set", known.set, fields.set),
        ("$set_once", known.set_once, fields.set_once),
        ("$unset", known.unset, fields.unset),
    ):
        if theirs is not NOTHING:
            _check_stored(name, bytes(theirs))
            if mine is NOTHING:
                added[name] = bytes(theirs)
            else:
                raw = _merged(raw, name, bytes(theirs))
    if fields.ip is not None and known.ip is NOTHING:
        added["$ip"] = encode_any(fields.ip)
    return with_members(raw, added) if added else raw


def with_members(raw: bytes, added: Mapping[str, bytes]) -> bytes:
    """Return a JSON object with members that it does not have, before its own.

    Args:
        added: JSON by plain names, at least one.
    """
    inside = b",".join(b'"%s":%s' % (name.encode(), mend_escapes(value)) for name, value in added.items())
    rest = raw[1:].lstrip()
    return b"{" + inside + (b"" if rest == b"}" else b",") + rest


def _check_stored(name: str, raw: bytes) -> None:
    """Raise Rejected for JSON that would make the properties what they must not be: too deep, or no UTF-8."""
    if is_deep(raw):
        raise Rejected(Reason.MALFORMED_EVENT_PROPERTIES, f"{name} is nested deeper than {MAX_DEPTH}")
    if not raw.isascii():
        refuse_encoding(raw)


def _merged(raw: bytes, name: str, theirs: bytes) -> bytes:
    """Return properties whose object or array `name` also has what only that of another place has."""
    theirs = mend_escapes(theirs)
    try:
        whole = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        mine = whole[name]
        if bytes(mine) == b"null":
            merged: object = msgspec.Raw(theirs)
        elif name == "$unset":
            merged = list(dict.fromkeys(_names(mine) + _names(theirs)))
        else:
            merged = _objects(theirs) | _objects(mine)
    except msgspec.DecodeError:
        return raw  # one of them has the wrong type: what the properties say counts
    whole[name] = msgspec.Raw(msgspec.json.encode(merged))
    return msgspec.json.encode(whole)


_names = msgspec.json.Decoder(list[str]).decode
_objects = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
