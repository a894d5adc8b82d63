"""What an event says of persons and groups, and of nothing but the event (docs/persons.md, "Which events say what")."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import msgspec
from msgspec import Raw

from schemas.event import Event
from schemas.limits import MAX_ACCEPTED_DISTINCT_ID, MAX_DISTINCT_ID, MAX_GROUP_KEY
from schemas.persons import COPIED, NO_UUID, Fact, GroupFact, Kind, initial, person_id
from schemas.reasons import WarningType
from transforms.escapes import mend_escapes

HOUR = 3_600_000_000  # microseconds
SHORT = 500  # bytes of `$groups` that are kept in mind

IDENTIFY, ALIAS, FORCE, SET, GROUP = "$identify", "$create_alias", "$merge_dangerously", "$set", "$groupidentify"
MERGES = frozenset({IDENTIFY, ALIAS, FORCE})
WRITING = MERGES | {SET}
SILENT = frozenset({"$exception", "$$heatmap"})
SPEAKING = WRITING | {GROUP}  # events that always say something
STRIPPED = ("$set", "$set_once", "$unset", "$groups")  # of personless events

_UNMERGEABLE = frozenset(
    {"anonymous", "guest", "distinctid", "distinct_id", "id", "not_authenticated", "email", "undefined", "true", "false"}
)
_UNMERGEABLE_AS_WRITTEN = frozenset({"[object Object]", "NaN", "None", "none", "null", "0", "undefined"})

_NULL = b"null"
_OTHERS = ("$set", "$set_once", "$unset", "$anon_distinct_id", "alias", "$group_type", "$group_key", "$group_set")
_ABSENT = Raw(b"")
_Said = msgspec.defstruct(
    "_Said",
    [(f"f{place}", Raw, msgspec.field(name=name, default=_ABSENT)) for place, name in enumerate(_OTHERS + COPIED)],
    gc=False,
)
_decode = msgspec.json.Decoder(_Said).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode
_decode_names = msgspec.json.Decoder(list[str]).decode
_decode_any = msgspec.json.Decoder().decode
_INITIALS = {name: initial(name) for name in COPIED}

Warn = Callable[[WarningType, str, Any], None]  # type, field, value


def add_facts(event: Event, warn: Warn) -> None:
    """Put into an event what it says of its person and of groups: `facts`, `group_facts`, `person_id`.

    All but what many events say again and again, and whoever knows the person adds where it is news: `first_seen`, and `copied_facts`.

    Args:
        event: one with a person, and what is `copied` of it.
        warn: called with what is wrong.
    """
    properties = mend_escapes(event.properties) if b"\\u" in event.properties else event.properties
    values = msgspec.structs.astuple(_decode(properties))
    said = dict(zip(_OTHERS, values, strict=False))
    if event.person_id == NO_UUID:
        event.person_id = person_id(event.team_id, event.distinct_id)
    order = min(event.timestamp, event.arrival)
    if event.event == GROUP:
        event.group_facts = tuple(_group_facts(event, said, order, warn))
    if event.event in SILENT:
        event.copied = ()
        return
    facts = _property_facts(event, said, values[len(_OTHERS) :], order, warn)
    if event.event in MERGES:
        facts += _merge_facts(event, said, order, warn)
    event.facts = tuple(facts)


def _property_facts(event: Event, said: Mapping[str, Raw], copied: Sequence[Raw], order: int, warn: Warn) -> list[Fact]:
    sets = _object("$set", said["$set"], warn)
    once = {key: value for key, value in _object("$set_once", said["$set_once"], warn).items() if value != _NULL}
    unset = _names(said["$unset"], warn)
    if not (event.event in WRITING or sets or unset or once or _is_object(said["$set_once"])):
        return []
    event.copied = ()  # they are not by the hour, then
    sets = {**dict.fromkeys(unset, b""), **sets}
    for name, raw in zip(COPIED, copied, strict=True):
        if raw is not _ABSENT and (value := bytes(raw)) != _NULL:
            sets.setdefault(name, value)
            once.setdefault(_INITIALS[name], value)
    team, who, uuid, person = event.team_id, event.distinct_id, event.uuid, event.person_id
    facts = [Fact(team, who, Kind.SET, key, order, uuid, value, person) for key, value in sets.items()]
    return facts + [Fact(team, who, Kind.ONCE, key, -order, uuid, value, person) for key, value in once.items()]


def copied_facts(event: Event, person: bytes) -> list[Fact]:
    """Return what an ordinary event says of its person by its campaign and app properties.

    Args:
        event: the event.
        person: 16 bytes: under whom the facts are stored.
    """
    order = min(event.timestamp, event.arrival)
    hour = order - order % HOUR
    team, who = event.team_id, event.distinct_id
    facts = []
    for place, value in zip(event.copied[::2], event.copied[1::2], strict=True):
        name, text = COPIED[cast(int, place)], cast(bytes, value)
        facts.append(Fact(team, who, Kind.SET, name, hour, NO_UUID, text, person))
        facts.append(Fact(team, who, Kind.ONCE, _INITIALS[name], -order, event.uuid, text, person))
    return facts


def _is_object(raw: Raw) -> bool:
    """Return whether JSON is an object with a member."""
    return bytes(raw)[:1] == b"{" and bool(_decode_object(raw))


def _object(name: str, raw: Raw, warn: Warn) -> dict[str, bytes]:
    if raw is _ABSENT or bytes(raw) == _NULL:
        return {}
    if bytes(raw)[:1] != b"{":
        warn(WarningType.MALFORMED_EVENT_PROPERTIES, name, bytes(raw).decode())
        return {}
    return {key: bytes(value) for key, value in _decode_object(raw).items()}


def _names(raw: Raw, warn: Warn) -> list[str]:
    """Return the keys that `$unset` names: a list's strings, or an object's keys."""
    if raw is _ABSENT or bytes(raw) == _NULL:
        return []
    first = bytes(raw)[:1]
    if first == b"[":
        try:
            return _decode_names(raw)
        except msgspec.ValidationError:  # not all are strings
            texts = [text for text in map(bytes, _decode_list(raw)) if text[:1] == b'"']
            return _decode_names(b"[%b]" % b",".join(texts))
    if first == b"{":
        return list(_decode_object(raw))
    warn(WarningType.MALFORMED_EVENT_PROPERTIES, "$unset", bytes(raw).decode())
    return []


def _text(raw: Raw) -> str | None:
    return msgspec.json.decode(raw, type=str) if bytes(raw)[:1] == b'"' else None


def _merge_facts(event: Event, said: Mapping[str, Raw], order: int, warn: Warn) -> Iterator[Fact]:
    """Yield what a merge event says: of the source the link, of the target that it is identified."""
    team, target = event.team_id, event.distinct_id
    field = "$anon_distinct_id" if event.event == IDENTIFY else "alias"
    raw = said[field]
    illegal = not is_mergeable(target)
    identified = Fact(team, target, Kind.IDENTIFIED, "", -order, NO_UUID, b"", event.person_id)
    if event.event == IDENTIFY and not illegal:
        yield identified
    if raw is _ABSENT or bytes(raw) == _NULL:
        return
    source = _text(raw)
    if source is None:
        wrong = WarningType.INVALID_ANON_DISTINCT_ID if event.event == IDENTIFY else WarningType.INVALID_ALIAS
        warn(wrong, field, bytes(raw).decode())
        return
    if illegal or not is_mergeable(source):
        warn(WarningType.CANNOT_MERGE_WITH_ILLEGAL_DISTINCT_ID, "distinct_id" if illegal else field, target if illegal else source)
        return
    source = source[:MAX_DISTINCT_ID]
    if source == target:
        return
    person = person_id(team, source)
    if event.event != IDENTIFY:
        yield identified
    if event.event == FORCE:
        yield Fact(team, source, Kind.FORCED, target, -order, event.uuid, b"", person)
    else:
        yield Fact(team, source, Kind.LINK, "", -order, event.uuid, target.encode(), person)


def is_mergeable(distinct_id: str) -> bool:
    """Return whether an id may be the source or the target of a merge: PostHog's list, also within quotes."""
    if len(distinct_id) > MAX_ACCEPTED_DISTINCT_ID or "\ufffd" in distinct_id:  # what a NUL has become
        return False
    bare = distinct_id
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "'\"":
        bare = bare[1:-1]
    return bare.lower() not in _UNMERGEABLE and bare not in _UNMERGEABLE_AS_WRITTEN and bool(bare.strip())


def _group_facts(event: Event, said: Mapping[str, Raw], order: int, warn: Warn) -> Iterator[GroupFact]:
    group_type, key = _label(said["$group_type"]), _label(said["$group_key"])
    if not group_type or not key:
        return
    if len(key) > MAX_GROUP_KEY:
        warn(WarningType.GROUP_KEY_TOO_LONG, "$group_key", key)
        return
    yield GroupFact(event.team_id, group_type, key, Kind.FIRST_SEEN, "", -order, NO_UUID, b"")
    for name, value in _object("$group_set", said["$group_set"], warn).items():
        yield GroupFact(event.team_id, group_type, key, Kind.SET, name, order, event.uuid, value)


def _label(raw: Raw) -> str:
    """Return a group's type or key as text: a string, or a number as it is written."""
    text = bytes(raw).decode()
    if text[:1] == '"':
        return msgspec.json.decode(raw, type=str)
    return text if text[:1] in set("-0123456789") else ""


def group_columns(raw: bytes, group_types: tuple[str, ...]) -> tuple[str, ...]:
    """Return `$group_0` ... of an event from its `$groups`; empty where it has none."""
    if raw[:1] != b"{":
        return ()
    return _short_columns(raw, group_types) if len(raw) <= SHORT else _columns(raw, group_types)


def _columns(raw: bytes, group_types: tuple[str, ...]) -> tuple[str, ...]:
    found = msgspec.structs.astuple(_group_decoder(group_types)(raw))
    return tuple("" if each is _ABSENT else _label(each)[:MAX_GROUP_KEY] for each in found)


@lru_cache(maxsize=1024)
def _group_decoder(group_types: tuple[str, ...]) -> Callable[[bytes], msgspec.Struct]:
    """Return what reads the keys of some types of groups, and passes over all others."""
    fields = [(f"f{place}", Raw, msgspec.field(name=name, default=_ABSENT)) for place, name in enumerate(group_types)]
    return msgspec.json.Decoder(msgspec.defstruct("_Groups", fields, gc=False)).decode


_short_columns = lru_cache(maxsize=4096)(_columns)  # a user's groups come with each event


def without_person(properties: bytes) -> bytes:
    """Return properties without what a personless event cannot mean."""
    members = _decode_object(properties)
    for name in STRIPPED:
        members.pop(name, None)
    return msgspec.json.encode(members)
