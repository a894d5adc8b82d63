"""Rows of traffic to the JSON of events, as posthog-js, posthog-python and posthog-node write it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipelines.generate.draws import Chars, Ints, hex_chars, texts, time_chars, uuid_v4, uuid_v7
from pipelines.generate.teams import PROBES
from pipelines.generate.traffic import FIRST_SERVER_KIND, Dropped, Kind, Rows, Traffic
from pipelines.generate.vocabulary import VARIANTS, Vocabulary

V4_SHARE = 0.06  # of the uuids
ODD_UUID_SHARE = 0.002  # upper case, in braces, without hyphens
ODD_ID_SHARE = 0.004  # of the people
ODD_TIME_SHARE = 0.006  # of the events
ODD_FLAG_SHARE = 0.0002  # of the events: a $process_person_profile that is not a boolean
GROUPS_SHARE = 0.3  # of the known people belong to a company
DEVICE_DAYS = 120  # before the first event: when devices were seen first

_WEB = (
    b'{%b"event":"%b","properties":{%b"distinct_id":%b,"$device_id":"%b","$session_id":"%b",'
    b'"$current_url":"https://%b%b","$host":"%b",%b%b%b"$insert_id":"%b"%b,"$process_person_profile":%b}%b%b%b}'
)
_SERVER = b'{"properties":{%b%b%b"$feature/new-checkout":true}%b,"distinct_id":%b,"event":"%b"%b%b}'

_ACCOUNTS = (b"user-%d", b"anna.%d@example.org", b"%d")  # by team
_NUMERIC = 2  # this style is a JSON number
_ODD_IDS: tuple[bytes, ...] = (
    "jürgen-%d".encode(),
    "田中%d".encode(),
    b"  spaces %d ",
    b'o\\"neil-%d',
    b"nul\\u0000-%d",
    b"a-long-distinct-id-" * 14 + b"%d",  # over 200 characters: cut
    "ключ-".encode() * 50 + b"%d",
    b"anonymous",  # illegal ones: no person is made of them
    b"undefined",
    b"[object Object]",
    b"null",
    b"0",
)
_ODD_TIMES = (
    b"",
    b',"timestamp":null',
    b',"timestamp":"not a date"',
    b',"timestamp":"%bZ","offset":5000',
    b',"timestamp":"%b+04:00"',
)
_UUID_FORMS: tuple[Callable[[bytes], bytes], ...] = (
    bytes.upper,
    lambda uuid: b"{%b}" % uuid,
    lambda uuid: uuid.replace(b"-", b""),
)


@dataclass(frozen=True)
class Rendered:
    """Events as text, a list an aspect, in the order of the rows.

    Attributes:
        events: each one's JSON object.
        uuids: in canonical form, empty where the client sent none.
        distinct_ids: as the inside of a JSON string.
    """

    events: list[bytes]
    uuids: list[bytes]
    distinct_ids: list[bytes]


class Renderer:
    """Write events.

    Args:
        traffic: what the rows are of.
        with_token: whether each event carries its token at its top; else those of posthog-js have it in their properties.
    """

    def __init__(self, traffic: Traffic, with_token: bool) -> None:
        self._traffic = traffic
        self._draws = traffic.draws
        self._teams = traffic.teams
        self._with_token = with_token
        self._words = Vocabulary()

    def render(self, rows: Rows) -> Rendered:
        """Return the rows' events."""
        uuids = self._uuids(rows)
        devices = self._devices(rows)
        distinct_ids, quoted = self._distinct_ids(rows, devices)
        heads = self._heads(rows, uuids)
        events = [b""] * len(rows)
        is_server = rows.kind >= FIRST_SERVER_KIND
        for places, write in ((np.flatnonzero(~is_server), self._web), (np.flatnonzero(is_server), self._server)):
            chosen = places.tolist()
            parts = [[column[place] for place in chosen] for column in (heads, quoted, devices)]
            for place, event in zip(chosen, write(rows.take(places), *parts), strict=True):
                events[place] = event
        for place in np.flatnonzero(~rows.has_uuid).tolist():
            uuids[place] = b""
        return Rendered(events, uuids, distinct_ids)

    def _web(self, rows: Rows, heads: list[bytes], quoted: list[bytes], devices: list[bytes]) -> list[bytes]:
        words, draws = self._words, self._draws
        hosts = [self._teams.hosts[team] for team in rows.team.tolist()]
        page = draws.below("page", rows.what, len(words.paths)).tolist()
        sets, bodies = self._web_contents(rows, devices)
        columns = (
            heads,
            self._web_names(rows),
            _chosen(words.web_clients, draws.below("client", rows.user, len(words.web_clients))),
            quoted,
            devices,
            texts(self._sessions(rows)),
            hosts,
            [words.paths[each] for each in page],
            hosts,
            [words.pages[each] for each in page],
            _chosen(words.referrers, draws.below("referrer", rows.session, len(words.referrers))),
            bodies,
            texts(hex_chars(draws.bits("insert id", rows.what)[:, None])),
            [b""] * len(rows) if self._with_token else self._tokens(rows),
            self._person_flags(rows),
            sets,
            self._timestamps(rows, b"Z"),
            self._tokens(rows) if self._with_token else [b""] * len(rows),
        )
        return [_WEB % row for row in zip(*columns, strict=True)]

    def _server(self, rows: Rows, heads: list[bytes], quoted: list[bytes], devices: list[bytes]) -> list[bytes]:
        words, draws = self._words, self._draws
        columns = (
            self._server_contents(rows, devices),
            self._groups(rows),
            _chosen(words.server_clients, draws.below("backend", rows.team, len(words.server_clients))),
            self._timestamps(rows, b"000+00:00"),
            quoted,
            self._server_names(rows),
            [b"," + head[:-1] if head else b"" for head in heads],
            self._tokens(rows) if self._with_token else [b""] * len(rows),
        )
        return [_SERVER % row for row in zip(*columns, strict=True)]

    def _uuids(self, rows: Rows) -> list[bytes]:
        draws, source = self._draws, rows.source
        high, low = draws.bits("uuid high", source), draws.bits("uuid low", source)
        millis = self._traffic.clock.arrival(source) // 1000
        is_v4 = draws.share("uuid version", source) < V4_SHARE
        return texts(np.where(is_v4[:, None], uuid_v4(high, low), uuid_v7(millis, high, low)))

    def _heads(self, rows: Rows, uuids: list[bytes]) -> list[bytes]:
        """Return each event's uuid member with a comma; empty where the client sets none."""
        heads = [b'"uuid":"%b",' % uuid for uuid in uuids]
        share = self._draws.share("uuid form", rows.position)
        for place in np.flatnonzero(share < ODD_UUID_SHARE).tolist():
            form = _UUID_FORMS[int(rows.position[place]) % len(_UUID_FORMS)]
            heads[place] = b'"uuid":"%b",' % form(uuids[place])
        for place in np.flatnonzero(~rows.has_uuid).tolist():
            heads[place] = b"" if rows.position[place] % 3 else b'"uuid":"",'
        return heads

    def _devices(self, rows: Rows) -> list[bytes]:
        """Return each person's device id, which is their distinct id as long as they are anonymous."""
        draws = self._draws
        first = self._traffic.clock.start // 1000 - 1 - draws.below("device age", rows.user, DEVICE_DAYS * 86_400) * 1000
        return texts(uuid_v7(first, draws.bits("device high", rows.user), draws.bits("device low", rows.user)))

    def _sessions(self, rows: Rows) -> Chars:
        start = self._traffic.session_start(rows.session) // 1000
        return uuid_v7(start, self._draws.bits("session high", rows.session), self._draws.bits("session low", rows.session))

    def _distinct_ids(self, rows: Rows, devices: list[bytes]) -> tuple[list[bytes], list[bytes]]:
        """Return the distinct ids as the insides of JSON strings, and as JSON values."""
        plain = devices.copy()
        quoted = [b'"%b"' % device for device in devices]
        style = rows.team % len(_ACCOUNTS)
        styles, numbers = style.tolist(), rows.number.tolist()
        for place in np.flatnonzero(rows.known).tolist():
            text = plain[place] = _ACCOUNTS[styles[place]] % numbers[place]
            quoted[place] = text if styles[place] == _NUMERIC else b'"%b"' % text
        for place, text in self._odd_ids(rows):
            plain[place] = text
            quoted[place] = b'"%b"' % text
        return plain, quoted

    def _odd_ids(self, rows: Rows) -> list[tuple[int, bytes]]:
        pick = self._draws.below("which odd id", rows.user, len(_ODD_IDS))
        found = []
        for place in np.flatnonzero(rows.known & (self._draws.share("odd id", rows.user) < ODD_ID_SHARE)).tolist():
            text = _ODD_IDS[pick[place]]
            found.append((place, text % rows.number[place] if b"%" in text else text))
        probes = self._traffic.probes(rows.session)
        for place in np.flatnonzero(rows.dropped == Dropped.DISTINCT_ID).tolist():
            found.append((place, PROBES[probes[place]].encode()))
        return found

    def _timestamps(self, rows: Rows, zone: bytes) -> list[bytes]:
        chars = time_chars(rows.moment)
        found = texts(chars, b',"timestamp":"', zone + b'"')
        for place in np.flatnonzero(self._draws.share("odd time", rows.what) < ODD_TIME_SHARE).tolist():
            form = _ODD_TIMES[int(rows.what[place]) % len(_ODD_TIMES)]
            found[place] = form % chars[place].tobytes() if b"%" in form else form
        return found

    def _tokens(self, rows: Rows) -> list[bytes]:
        return [b',"token":"%b"' % self._teams.tokens[token] for token in rows.token.tolist()]

    def _person_flags(self, rows: Rows) -> list[bytes]:
        """Return $process_person_profile: false for anonymous events of the teams that want profiles of known people only."""
        profile = rows.known | (rows.team % 2 == 0) | (rows.kind == Kind.SET)
        found = [b"true" if each else b"false" for each in profile.tolist()]
        for place in np.flatnonzero(self._draws.share("odd flag", rows.what) < ODD_FLAG_SHARE).tolist():
            found[place] = b'"false"'
        return found

    def _groups(self, rows: Rows) -> list[bytes]:
        member = rows.known & (self._draws.share("in a group", rows.user) < GROUPS_SHARE)
        company = (rows.user % np.uint64(VARIANTS)).tolist()
        return [
            b'"$groups":{"company":"company-%d"},' % number if is_member else b""
            for number, is_member in zip(company, member.tolist(), strict=True)
        ]

    def _web_names(self, rows: Rows) -> list[bytes]:
        custom = _chosen(self._words.names, self._draws.below("name", rows.what, len(self._words.names)))
        kinds = rows.kind.tolist()
        return [_WEB_NAMES.get(kind) or name for kind, name in zip(kinds, custom, strict=True)]

    def _server_names(self, rows: Rows) -> list[bytes]:
        custom = _chosen(self._words.server_names, self._draws.below("name", rows.what, len(self._words.server_names)))
        return [_SERVER_NAMES.get(kind) or name for kind, name in zip(rows.kind.tolist(), custom, strict=True)]

    def _web_contents(self, rows: Rows, devices: list[bytes]) -> tuple[list[bytes], list[bytes]]:
        """Return each event's $set and $set_once members, and the properties that belong to its kind."""
        words = self._words
        variant = self._draws.below("variant", rows.what, VARIANTS).tolist()
        tables = {
            Kind.AUTOCAPTURE: words.elements,
            Kind.PAGELEAVE: words.pageleaves,
            Kind.CUSTOM: words.custom,
            Kind.FLAG: words.flags,
            Kind.GROUP: words.groups,
            Kind.EXCEPTION: words.exceptions,
        }
        empty = [b""] * VARIANTS
        choice = [tables.get(Kind(kind), empty) for kind in range(FIRST_SERVER_KIND)]
        bodies = [choice[kind][each] for kind, each in zip(rows.kind.tolist(), variant, strict=True)]
        for place, group in enumerate(self._groups(rows)):
            if group:
                bodies[place] += group
        for place in np.flatnonzero(rows.kind == Kind.IDENTIFY).tolist():
            bodies[place] = b'"$anon_distinct_id":"%b",' % devices[place]
        return self._web_sets(rows, variant), bodies

    def _web_sets(self, rows: Rows, variant: list[int]) -> list[bytes]:
        words = self._words
        sets = [b""] * len(rows)
        for place in np.flatnonzero((rows.kind == Kind.IDENTIFY) | (rows.kind == Kind.SET)).tolist():
            each = variant[place]
            sets[place] = b"," + words.sets[each][:-1] + b"," + words.set_onces[each % len(words.set_onces)][:-1]
        return sets

    def _server_contents(self, rows: Rows, devices: list[bytes]) -> list[bytes]:
        words = self._words
        variant = self._draws.below("variant", rows.what, VARIANTS).tolist()
        tables = {Kind.SERVER: words.server_custom, Kind.SERVER_SET: words.sets, Kind.SERVER_GROUP: words.groups}
        bodies = [tables.get(Kind(kind), words.flags)[each] for kind, each in zip(rows.kind.tolist(), variant, strict=True)]
        for place in np.flatnonzero(rows.kind == Kind.ALIAS).tolist():
            bodies[place] = b'"alias":"%b",' % devices[place]
        others = 1 + self._draws.below("other", rows.what, self._teams.users[rows.team])
        for place in np.flatnonzero(rows.kind == Kind.MERGE).tolist():
            style = int(rows.team[place]) % len(_ACCOUNTS)
            bodies[place] = b'"alias":"%b",' % (_ACCOUNTS[style] % int(others[place]))
        return bodies


_WEB_NAMES = {
    Kind.PAGEVIEW.value: b"$pageview",
    Kind.AUTOCAPTURE.value: b"$autocapture",
    Kind.PAGELEAVE.value: b"$pageleave",
    Kind.FLAG.value: b"$feature_flag_called",
    Kind.SET.value: b"$set",
    Kind.GROUP.value: b"$groupidentify",
    Kind.EXCEPTION.value: b"$exception",
    Kind.IDENTIFY.value: b"$identify",
}
_SERVER_NAMES = {
    Kind.SERVER_SET.value: b"$set",
    Kind.SERVER_GROUP.value: b"$groupidentify",
    Kind.ALIAS.value: b"$create_alias",
    Kind.MERGE.value: b"$merge_dangerously",
}


def _chosen(table: list[bytes], places: Ints) -> list[bytes]:
    return [table[place] for place in places.tolist()]
