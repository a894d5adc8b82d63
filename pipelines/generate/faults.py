"""What is wrong with invalid events, the Reason that each is rejected with, and how a good event is made into a bad one."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET

from pipelines.generate.draws import Draws, Ints
from schemas.limits import MAX_BODY_BYTES, MAX_DEPTH, MAX_MESSAGE_BYTES
from schemas.reasons import Reason

NIL_UUID = "00000000-0000-0000-0000-000000000000"
_MARK = "bytes that are not UTF-8"
_NOT_UTF8 = b"\xc3\x28 \xff\xfe \xed\xa0\x80"


class Part(Enum):
    """What of a message a fault spoils."""

    EVENT = "event"  # its neighbours in a batch are good
    TOKEN = "token"
    BODY = "body"  # nothing in the message can be read


@dataclass(frozen=True)
class Fault:
    """One way to be invalid.

    Attributes:
        field: what is replaced: a field of the event, its token, or the whole body.
        values: what it is replaced by, one of them; UNSET takes it away. For a body: functions of the good one.
        weight: how often, against the others.
    """

    reason: Reason
    part: Part
    field: str
    values: tuple[Any, ...]
    weight: int = 20


def _event(reason: Reason, field: str, *values: Any, weight: int = 20) -> Fault:
    return Fault(reason, Part.EVENT, field, values, weight)


def _token(reason: Reason, *values: Any) -> Fault:
    return Fault(reason, Part.TOKEN, "token", values)


def _body(reason: Reason, *values: Callable[[bytes], bytes], weight: int = 20) -> Fault:
    return Fault(reason, Part.BODY, "", values, weight)


def _nested(opening: bytes, closing: bytes, depth: int) -> dict[str, Any]:
    return {"nested": msgspec.Raw(opening * depth + b"1" + closing * depth)}


def _torn(body: bytes) -> bytes:
    packed = gzip.compress(body, 1, mtime=0)
    return packed[: len(packed) * 2 // 3]


@cache
def _bomb(size: int) -> bytes:
    return gzip.compress(b'{"batch":[' + b" " * size + b"]}", 9, mtime=0)


EVENT_FAULTS = (
    _event(Reason.MISSING_EVENT_NAME, "event", UNSET, ""),
    _event(Reason.SCHEMA_VALIDATION_FAILED, "event", 42, True, ["$pageview"], {"name": "$pageview"}),
    _event(Reason.MISSING_DISTINCT_ID, "distinct_id", UNSET, None, "", " \t"),
    _event(Reason.DISTINCT_ID_TOO_LARGE, "distinct_id", "x" * 450, "größe-" * 200),
    _event(Reason.INVALID_EVENT_UUID, "uuid", "not-a-uuid", NIL_UUID, "0190d5f0-0000-7000-8000-00000000000g", "0190d5f0-0000"),
    _event(Reason.MALFORMED_EVENT_PROPERTIES, "properties", [], ["a", {"b": 1}], "a string", '{"a":1}', 42, True),
    _event(
        Reason.MALFORMED_EVENT_PROPERTIES,
        "properties",
        _nested(b'{"a":', b"}", 10_000),
        _nested(b"[", b"]", 10_000),
        _nested(b'{"a":', b"}", MAX_DEPTH * 3 // 2),
        weight=4,
    ),
    _event(Reason.INVALID_EVENT_WHEN_PROCESS_PERSON_PROFILE_IS_FALSE, "event", "$identify", "$create_alias", "$merge_dangerously"),
    _event(Reason.MESSAGE_SIZE_TOO_LARGE, "properties", {"blob": "x" * (MAX_MESSAGE_BYTES + 1)}, weight=1),
)
TOKEN_FAULTS = (
    _token(Reason.MISSING_TOKEN, UNSET, "", "  "),
    _token(Reason.INVALID_TOKEN, "phx_aPersonalKeyThatIsSecret00000000000000000000", "phc_" + "x" * 70, "phc_ñandú"),
    _token(Reason.UNKNOWN_TOKEN, "phc_thisTokenIsWellFormedButOfNoTeam0000000000", "an-unknown-token"),
)
BODY_FAULTS = (
    _body(
        Reason.MALFORMED_BODY,
        lambda body: body[: len(body) * 2 // 3],
        lambda body: b"\xff\xfe" + body,
        lambda _: b"<html><title>502 Bad Gateway</title></html>",
        lambda _: b'"a text"',
        lambda _: b"42",
    ),
)
# Inside an event's text, such bytes leave its token to be read. Inside the envelope of a captured message nothing is left.
CAPTURED_FAULTS = (_body(Reason.MALFORMED_BODY, lambda body: body.replace(_MARK.encode(), _NOT_UTF8), weight=5),)
HTTP_FAULTS = (
    _body(Reason.MALFORMED_BODY, _torn, lambda body: _torn(body)[:12], lambda _: b"data=%25%25%25"),
    _body(Reason.BODY_TOO_LARGE, lambda _: _bomb(MAX_BODY_BYTES), weight=1),
)


@dataclass(frozen=True)
class Flaw:
    """One invalid event: its fault, and which of the fault's values it has."""

    fault: Fault
    value: Any


class Faults:
    """Say what is wrong with the invalid events of a shape.

    Args:
        shape: of the plan.
        draws: random numbers of the plan's seed.
    """

    def __init__(self, shape: str, draws: Draws) -> None:
        self._draws = draws
        own = {"captured": CAPTURED_FAULTS, "http": HTTP_FAULTS}.get(shape, ())
        self.all = (*EVENT_FAULTS, *TOKEN_FAULTS, *BODY_FAULTS, *own)
        self._bounds = np.cumsum([fault.weight for fault in self.all])
        self._whole = shape in ("captured", "event")

    def flaws(self, positions: Ints) -> list[Flaw]:
        """Return what is wrong at positions that are invalid."""
        pick = self._draws.below("fault", positions, int(self._bounds[-1]))
        faults = [self.all[each] for each in np.searchsorted(self._bounds, pick, side="right").tolist()]
        values = self._draws.below("fault value", positions, 1000).tolist()
        return [Flaw(fault, fault.values[value % len(fault.values)]) for fault, value in zip(faults, values, strict=True)]

    def keeps_team(self, flaw: Flaw) -> bool:
        """Return whether the team can be told: not if the message has no known token, or is refused unread for its size."""
        return flaw.fault.part is Part.EVENT and not self._is_unread(flaw)

    def keeps_uuid(self, flaw: Flaw) -> bool:
        """Return whether the event still has the uuid of a good one, and can be read."""
        return flaw.fault.part is not Part.BODY and flaw.fault.field != "uuid" and not self._is_unread(flaw)

    def _is_unread(self, flaw: Flaw) -> bool:
        return self._whole and flaw.fault.reason is Reason.MESSAGE_SIZE_TOO_LARGE


def spoiled(event: bytes, flaw: Flaw) -> bytes:
    """Return a good event with the flaw, its distinct id at the top, and no other alias of what is spoiled.

    The event of a message that is not UTF-8 carries a mark, which `spoiled_body` puts such bytes in the place of.
    """
    members = msgspec.json.decode(event)
    properties = members["properties"]
    if "distinct_id" in properties:
        members["distinct_id"] = properties.pop("distinct_id")
    if flaw.fault.part is Part.TOKEN:
        properties.pop("token", None)
    if flaw.fault.part is Part.BODY:
        properties["text"] = _MARK
        return msgspec.json.encode(members)
    if flaw.fault.reason is Reason.INVALID_EVENT_WHEN_PROCESS_PERSON_PROFILE_IS_FALSE:
        properties["$process_person_profile"] = False
    members.pop(flaw.fault.field, None)
    if flaw.value is not UNSET:
        members[flaw.fault.field] = flaw.value
    return msgspec.json.encode(members)


def spoiled_body(body: bytes, flaw: Flaw) -> bytes:
    """Return a good message with the flaw, if that is one of the body."""
    return flaw.value(body) if flaw.fault.part is Part.BODY else body
