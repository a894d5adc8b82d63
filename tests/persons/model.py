"""A slow model of persons and groups, written from docs/persons.md: plain dicts, one event at a time, nothing shared with the code.

Events are given as clients send them. The properties of the model are the texts of `json.dumps(..., ensure_ascii=False)`: so are those that
the tests send.
"""

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid5

NAMESPACE = UUID("932979b4-65c3-4424-8467-0b66ec27bc22")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = 3_600_000_000


def words(text: str) -> list[str]:
    return text.split()


CAMPAIGN = words(
    """utm_source utm_medium utm_campaign utm_content utm_name utm_term gclid gad_source gclsrc dclid gbraid wbraid fbclid msclkid
    twclid li_fat_id mc_cid igshid ttclid rdt_cid irclid _kx epik qclid sccid"""
)
APP = words("$app_build $app_name $app_namespace $app_version")
VOLATILE = words(
    """$browser $browser_version $device_type $current_url $pathname $os $os_name $os_version $referring_domain $referrer
    $screen_height $screen_width $viewport_height $viewport_width $raw_user_agent"""
)

UNMERGEABLE_IN_ANY_CASE = words("anonymous guest distinctid distinct_id id not_authenticated email undefined true false")
UNMERGEABLE = [*words("NaN None none null 0 undefined"), "[object Object]"]
ILLEGAL = words(
    """0 00000000-0000-0000-0000-000000000000 anonymous anonymous-user backend distinct_id distinctid email false guest id nan none
    not_authenticated null system true undefined user"""
)
ILLEGAL.append("[object object]")  # docs/events.md


class Told(NamedTuple):
    """One event, as its client sends it, and when."""

    uuid: UUID
    event: str
    distinct_id: str
    properties: dict[str, Any]
    timestamp: int  # microseconds since 1970
    arrival: int

    @property
    def order_time(self) -> int:
        return min(self.timestamp, self.arrival)


def text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def mergeable(name: str) -> bool:
    if len(name) > 400 or "\0" in name:
        return False
    inner = name[1:-1] if len(name) >= 2 and name[0] == name[-1] and name[0] in ("'", '"') else name
    return inner.strip() != "" and inner.lower() not in UNMERGEABLE_IN_ANY_CASE and inner not in UNMERGEABLE


class Model:
    """The persons and groups of one team."""

    def __init__(self, team: int) -> None:
        self.team = team
        # (distinct id, what, key) -> (order, uuid, value): of two contents the greater stands
        self.registers: dict[tuple[str, str, str], tuple[int, bytes, bytes]] = {}
        self.group_registers: dict[tuple[str, str, str, str], tuple[int, bytes, bytes]] = {}
        self.warned: set[str] = set()

    def tell(self, told: Told) -> None:
        """Take in one event; in any order, and as often as it likes to come."""
        who = told.distinct_id[:200]
        properties = told.properties
        if properties.get("$process_person_profile") is False or told.distinct_id.lower() in ILLEGAL:
            return
        time = told.order_time
        self._put(who, "first_seen", "", -time)
        if told.event == "$groupidentify":
            self._tell_group(told)
        if told.event in ("$exception", "$$heatmap"):
            return
        sets = self._object(properties.get("$set"))
        once = self._object(properties.get("$set_once"))
        unset = self._names(properties.get("$unset"))
        writing = told.event in ("$identify", "$create_alias", "$merge_dangerously", "$set") or sets or once or unset
        uuid = told.uuid.bytes
        explicit: dict[tuple[str, str], bytes] = {}
        for name in unset:
            explicit["set", name] = b""
        for name, value in sets.items():
            explicit["set", name] = text(value).encode()
        for name, value in once.items():
            if value is not None:
                explicit["once", name] = text(value).encode()
        for (kind, name), content in explicit.items():
            self._put(who, kind, name, time if kind == "set" else -time, uuid, content)
        for name in CAMPAIGN + APP + (VOLATILE if writing else []):
            if properties.get(name) is None:
                continue
            content = text(properties[name]).encode()
            initial = "$initial_" + (name[1:] if name.startswith("$") else name)
            if ("set", name) not in explicit:
                self._put(who, "set", name, time if writing else time // HOUR * HOUR, uuid if writing else bytes(16), content)
            if ("once", initial) not in explicit:
                self._put(who, "once", initial, -time, uuid, content)
        if told.event in ("$identify", "$create_alias", "$merge_dangerously"):
            self._tell_merge(told, who)

    def _tell_merge(self, told: Told, who: str) -> None:
        identify = told.event == "$identify"
        source = told.properties.get("$anon_distinct_id" if identify else "alias")
        time = told.order_time
        if identify and mergeable(who):
            self._put(who, "identified", "", -time)
        if source is None:
            return
        if not isinstance(source, str):
            self.warned.add("invalid_anon_distinct_id" if identify else "invalid_alias")
            return
        if not mergeable(source) or not mergeable(who):
            self.warned.add("cannot_merge_with_illegal_distinct_id")
            return
        source = source[:200]
        if source == who:
            return
        self._put(who, "identified", "", -time)
        if told.event == "$merge_dangerously":
            self._put(source, "forced", who, -time, told.uuid.bytes)
        else:
            self._put(source, "link", "", -time, told.uuid.bytes, who.encode())

    def _tell_group(self, told: Told) -> None:
        kind, key = self._label(told.properties.get("$group_type")), self._label(told.properties.get("$group_key"))
        if not kind or not key:
            return
        if len(key) > 400:
            self.warned.add("group_key_too_long")
            return
        self._put_group(kind, key, "first_seen", "", -told.order_time, bytes(16), b"")
        for name, value in self._object(told.properties.get("$group_set")).items():
            self._put_group(kind, key, "set", name, told.order_time, told.uuid.bytes, text(value).encode())

    def _label(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        return text(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""

    def _object(self, value: Any) -> dict[str, Any]:
        if value is None or isinstance(value, dict):
            return value or {}
        self.warned.add("malformed_event_properties")
        return {}

    def _names(self, value: Any) -> list[str]:
        if isinstance(value, list | dict):
            return [name for name in value if isinstance(name, str)]
        if value is not None:
            self.warned.add("malformed_event_properties")
        return []

    def _put(self, who: str, what: str, key: str, order: int, uuid: bytes = bytes(16), value: bytes = b"") -> None:
        name, content = (who, what, key), (order, uuid, value)
        self.registers[name] = max(content, self.registers.get(name, content))

    def _put_group(self, kind: str, group: str, what: str, key: str, *content: Any) -> None:
        name = (kind, group, what, key)
        self.group_registers[name] = max(content, self.group_registers.get(name, content))

    # What is read.

    def _merges(self) -> list[tuple[str, str]]:
        """Return (source, target) of the merges that hold."""
        found = []
        for (who, what, key), (order, _, value) in self.registers.items():
            if what == "forced":
                found.append((who, key))
            elif what == "link":
                identified = self.registers.get((who, "identified", ""))
                if identified is None or -identified[0] >= -order:
                    found.append((who, value.decode()))
        return found

    def _persons(self) -> dict[str, list[str]]:
        """Return the distinct ids of each person, by its canonical one."""
        names = {who for who, _, _ in self.registers}
        for (_, what, key), (_, _, value) in self.registers.items():
            if what == "forced":
                names.add(key)
            elif what == "link":
                names.add(value.decode())
        merges = self._merges()
        left, persons = set(names), {}
        while left:
            person = {left.pop()}
            while True:
                more = {other for pair in merges for other in pair if person & set(pair)} - person
                if not more:
                    break
                person |= more
            left -= person
            free = [name for name in person if all(source != name for source, _ in merges)]
            persons[min(free or person, key=str.encode)] = sorted(person)
        return persons

    def _id(self, canonical: str) -> UUID:
        return uuid5(NAMESPACE, f"{self.team}:{canonical}")

    def person_distinct_ids(self) -> list[tuple[Any, ...]]:
        return sorted((self.team, name, self._id(canonical)) for canonical, names in self._persons().items() for name in names)

    def persons(self) -> list[tuple[Any, ...]]:
        found = []
        merged = {name for pair in self._merges() for name in pair}
        for canonical, names in self._persons().items():
            first = [self.registers[name, "first_seen", ""][0] for name in names if (name, "first_seen", "") in self.registers]
            if first:
                identified = any(name in merged or (name, "identified", "") in self.registers for name in names)
                created = EPOCH + timedelta(microseconds=-max(first))
                found.append((self.team, self._id(canonical), created, identified, self._properties(names)))
        return sorted(found)

    def _properties(self, names: list[str]) -> str:
        every: dict[str, dict[str, tuple[int, bytes, bytes]]] = defaultdict(dict)
        for (who, what, key), content in self.registers.items():
            if who in names and what in ("set", "once"):
                every[key][what] = max(content, every[key].get(what, content))
        shown = {}
        for key, both in every.items():
            value = self._value(both.get("set"), both.get("once"))
            if value is not None:
                shown[key] = value
        return "{" + ",".join(f"{text(key)}:{shown[key]}" for key in sorted(shown, key=str.encode)) + "}"

    def _value(self, latest: tuple[int, bytes, bytes] | None, once: tuple[int, bytes, bytes] | None) -> str | None:
        if latest is None:
            return once[2].decode() if once else None
        if latest[2] not in (b"", b"null"):
            return latest[2].decode()
        if once is not None and -once[0] > latest[0]:
            return once[2].decode()
        return "null" if latest[2] else None

    def groups(self) -> list[tuple[Any, ...]]:
        found = []
        for kind, group in {(kind, group) for kind, group, _, _ in self.group_registers}:
            mine = {(what, key): content for (k, g, what, key), content in self.group_registers.items() if (k, g) == (kind, group)}
            members = {key: content[2].decode() for (what, key), content in mine.items() if what == "set"}
            created = EPOCH + timedelta(microseconds=-mine["first_seen", ""][0])
            shown = "{" + ",".join(f"{text(key)}:{members[key]}" for key in sorted(members, key=str.encode)) + "}"
            found.append((self.team, kind, group, created, shown))
        return sorted(found)
