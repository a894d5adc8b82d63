"""Raw messages in; batches of events, dead letters and warnings out, with the count of what was received."""

from collections import Counter
from collections.abc import Iterator
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from schemas.errors import Rejected
from schemas.event import Batch, DeadLetter, Event, IngestionWarning, PersonMode
from schemas.limits import (
    MAX_ARRIVAL_APART,
    MAX_BAD_EVENTS,
    MAX_BODY_BYTES,
    MAX_DEPTH,
    MAX_DISTINCT_ID,
    MAX_EVENT_NAME,
    MAX_FACTS,
    MAX_LETTER_BYTES,
    MAX_MESSAGE_BYTES,
)
from schemas.message import Messages, Origin
from schemas.outcomes import Outcome, Report, Tally
from schemas.reasons import Limit, Reason, WarningType
from schemas.teams import Registry
from transforms.parse import fields as rules
from transforms.parse.body import unwrap
from transforms.parse.decode import (
    CLIENT_WARNING,
    NOTHING,
    Fields,
    Properties,
    Shallow,
    copied_of,
    elements,
    encode_any,
    envelope_of,
    fields_of,
    properties_of,
    refuse,
)
from transforms.parse.timestamps import event_time, parse_arrival, parse_time
from transforms.persons.facts import MERGES, SILENT, SPEAKING, add_facts, group_columns, without_person

try:
    from transforms.parse.ordinary import Ordinary
except ImportError:  # it was not compiled
    COMPILED = False
else:
    COMPILED = True

STEP = "ParseEvents"
HOUR = 3_600_000_000  # microseconds
STREAMS = ("kafka://", "pubsub://")  # whose messages have a time from their broker


# What a batch holds at most, but for one event or the letters of one message: a receipt of some kilobytes may become gigabytes.
BATCH_EVENTS = 5_000
BATCH_BYTES = 16 << 20
FACT_BYTES = 300  # what a fact weighs besides its value
LETTER_BYTES = 1_000  # and a letter besides its body


class Piece(NamedTuple):
    """What some messages of a receipt have become.

    Attributes:
        batch: the events, dead letters and warnings.
        report: the count of what was received; the last piece of a message says that it was parsed.
        places: of the messages in their receipt.
    """

    batch: Batch
    report: Report
    places: range


def parse_pieces(messages: Messages, registry: Registry) -> Iterator[Piece]:
    """Yield the events of some messages in batches that are no larger than what can be held, and the count of what was received.

    What cannot be accepted is a dead letter in its batch; nothing is raised. The reports count every event, good or bad, by team and hour
    of arrival; a message that cannot be taken apart counts as one event, of team 0. There is one piece at least.
    """
    return _Parser(messages, registry).pieces(messages)


def parse_messages(messages: Messages, registry: Registry) -> tuple[Batch, Report]:
    """Return the same at once, of messages that are known to be harmless."""
    whole, counts = Batch([], [], []), Report(messages.receipt)
    tallies: Counter[tuple[int, int]] = Counter()
    for batch, report, _ in parse_pieces(messages, registry):
        whole.events += batch.events
        whole.letters += batch.letters
        whole.warnings += batch.warnings
        counts.parsed += report.parsed
        for tally in report.tallies:
            tallies[tally.team_id, tally.hour] += tally.count
    counts.tallies = [Tally(team, hour, Outcome.RECEIVED, "", count) for (team, hour), count in tallies.items()]
    return whole, counts


def arrivals_of(messages: Messages) -> list[int]:
    """Return each message's time of arrival, that of reading where nobody says one; microseconds since 1970."""
    if 0 in messages.arrivals:
        return [arrival or messages.arrival for arrival in messages.arrivals]
    return messages.arrivals or [messages.arrival] * len(messages.payloads)


_TEAM_AND_ARRIVAL = attrgetter("team_id", "arrival")


class _Message:
    """One message, what its events have from it, and those that were rejected.

    Attributes:
        letters: of rejected events, while they are few: see `is_rubbish`.
        reasons: how many were rejected, by reason.
    """

    __slots__ = (
        "_head", "_letter_bytes", "arrival", "envelope", "historical", "letters", "offset", "origin", "payload", "reasons", "rejected",
        "sent_at", "shallow", "stamped", "token",
    )  # fmt: skip

    def __init__(self, messages: Messages, place: int, payload: bytes) -> None:
        self.payload = payload
        self.offset = messages.offsets[place]
        self.origin = messages.origins[place] if messages.origins else None
        # whether the arrival is that of the client's request, and not the time of reading
        arrival = messages.arrivals[place] if messages.arrivals else 0
        self.stamped = bool(arrival) if self.origin is None else self.origin.stamped
        self.arrival = arrival or messages.arrival
        self.token: Any = None
        self.sent_at: int | None = None
        self.historical = False
        self.envelope: Fields | None = None  # of a batch
        self.shallow: Shallow | None = None  # of JSON that is too deep for a decoder
        self.letters: list[DeadLetter] = []
        self.reasons: Counter[Reason] = Counter()
        self.rejected = self._letter_bytes = 0
        self._head: bytes | None = None

    @property
    def is_rubbish(self) -> bool:
        """Whether so much is rejected that it becomes one letter."""
        return self.rejected > MAX_BAD_EVENTS or self._letter_bytes > MAX_LETTER_BYTES

    def add(self, letter: DeadLetter) -> None:
        """Take in a letter."""
        self.letters.append(letter)
        self._letter_bytes += len(letter.body)

    def letter(self, raw: bytes) -> bytes:
        """Return the bytes of a dead letter: a message that can be replayed, with the event's own bytes in it as they came."""
        if self.envelope is None:
            return self.payload
        if self.shallow is not None:
            raw = self.shallow.restored(raw)
        if self._head is None:
            self._head = self._head_of(self.envelope)
        return self._head + raw + b"]}"

    def _head_of(self, envelope: Fields) -> bytes:
        known = {
            "api_key": self.token,
            "sent_at": envelope.sent_at,
            "$ignore_sent_at": envelope.ignore_sent_at,
            "historical_migration": envelope.historical_migration,
        }
        head = encode_any({name: value for name, value in known.items() if value is not None})
        return head[:-1] + (b"," if len(head) > 2 else b"") + b'"batch":['


class _Parser:
    """Collects what the messages of one receipt become."""

    def __init__(self, messages: Messages, registry: Registry) -> None:
        self._source = messages.source
        self._receipt = messages.receipt
        self._broken = messages.rejected
        self._registry = registry
        self._dropped = registry.dropped_tokens
        self._teams: dict[str, int] = {}
        self._plain = _PlainTeams(registry)
        self._ordinary = Ordinary(self._plain, messages.receipt) if COMPILED and not messages.rejected else None
        self._first = 0  # message of the piece
        self.facts = 0  # of the events of a message
        self._start()

    def _start(self) -> None:
        self.events: list[Event] = []
        self.letters: list[DeadLetter] = []
        self.warnings: dict[tuple[int, str, str], IngestionWarning] = {}
        self.received: Counter[tuple[int, int]] = Counter()  # of what was rejected; the events are counted when all are there
        self.bytes = 0  # of what is more than the messages as they came
        self._teams.clear()
        self._plain.clear()

    def pieces(self, messages: Messages) -> Iterator[Piece]:
        """Parse the messages: at once those that are one ordinary event."""
        ordinary = self._ordinary
        arrivals = arrivals_of(messages)
        for place, (payload, arrival, offset) in enumerate(zip(messages.payloads, arrivals, messages.offsets, strict=True)):
            if ordinary is None or (event := ordinary.event(payload, None, arrival, None, False, offset, 0)) is None:
                message = _Message(messages, place, payload)
                for index, raw in enumerate(self._opened(message)):
                    self._parse_element(raw, message, index)
                    if self._is_full():
                        yield self._cut(place, place + 1)
                self._close(message)
            elif ordinary.has_more:
                self._add_more(ordinary, event)
            else:
                self.events.append(event)
            if self._is_full():
                yield self._cut(place + 1, place + 1)
        if self._first < len(messages.payloads) or not messages.payloads:
            yield self._cut(len(messages.payloads), len(messages.payloads))

    def _is_full(self) -> bool:
        return len(self.events) >= BATCH_EVENTS or self.bytes >= BATCH_BYTES

    def _cut(self, parsed: int, begun: int) -> Piece:
        """Return what is there, and start anew.

        Args:
            parsed, begun: how many messages are parsed to their end, and have begun to be.
        """
        received = self.received
        for (team, arrival), count in Counter(map(_TEAM_AND_ARRIVAL, self.events)).items():
            received[team, arrival // HOUR] += count
        tallies = [Tally(team, hour * 3600, Outcome.RECEIVED, "", count) for (team, hour), count in received.items()]
        batch = Batch(self.events, self.letters, list(self.warnings.values()))
        piece = Piece(batch, Report(self._receipt, tallies, parsed=parsed - self._first), range(self._first, begun))
        self._first = parsed
        self._start()
        return piece

    def _take(self, raw: bytes, message: _Message, index: int) -> bool:
        """Take an ordinary event of a batch; return whether it was."""
        ordinary = self._ordinary
        if ordinary is None:
            return False
        event = ordinary.event(raw, message.token, message.arrival, message.sent_at, message.historical, message.offset, index)
        if event is not None:
            self._add_more(ordinary, event)
        return event is not None

    def _take_captured(self, text: bytes, envelope: Fields, message: _Message) -> bool:
        """Take an ordinary event out of its envelope, if the edge says nothing else of it than it says itself; return whether it was."""
        ordinary = self._ordinary
        if ordinary is None:
            return False
        event = ordinary.event(text, envelope.token, message.arrival, _sent_at(envelope, message), False, message.offset, 0)
        if (
            event is None
            or envelope.distinct_id not in (None, "", event.distinct_id)
            or not _is_uuid(envelope.uuid, event.uuid)
            or (envelope.token is not None and (type(envelope.token) is not str or self._plain[envelope.token] != event.team_id))
        ):
            return False
        if envelope.ip is not None and envelope.ip != "" and not ordinary.has_ip:
            event.properties = rules.with_members(event.properties, {"$ip": encode_any(envelope.ip)})
        self._add_more(ordinary, event)
        return True

    def _add_more(self, ordinary: "Ordinary", event: Event) -> None:
        """Add the ordinary event that was read last, with its groups and facts."""
        if ordinary.groups is not None:
            event.groups = group_columns(ordinary.groups, self._registry.group_types_of(event.team_id))
        if ordinary.speaks:
            self._listen(event)
        self.events.append(event)

    def _opened(self, message: _Message) -> list[bytes]:
        """Parse one message, of any shape, but for the events of a batch: return those."""
        payload = message.payload
        self.facts = 0
        try:
            if self._broken:
                raise Rejected(Reason(self._broken), f"{self._source} cannot be read from here on")
            text = payload if payload[:1] == b"{" else unwrap(payload)
            try:
                return self._parse_text(text, message)
            except RecursionError:
                message.shallow = Shallow(text)
                return self._parse_text(message.shallow.text, message)
        except Rejected as error:
            self._reject(error, 0, payload, message, 0)
            return []

    def _parse_text(self, text: bytes, message: _Message) -> list[bytes]:
        """Parse JSON: an array of events, a batch, an event, or a captured message. Return the events of an array or batch."""
        if text[:1] == b"[":
            raws = elements(text)
            message.envelope = Fields()
            return raws
        fields = envelope_of(text)
        if fields.batch is not NOTHING:
            return self._open_batch(fields, message)
        self.bytes += len(text)
        if len(text) > MAX_MESSAGE_BYTES:
            raise Rejected(Reason.MESSAGE_SIZE_TOO_LARGE, f"the message has {len(text)} bytes, the limit is {MAX_MESSAGE_BYTES}")
        elif isinstance(fields.data, str) and (fields.now is not None or fields.event is None):  # an edge may name the event outside too
            self._parse_captured(fields, message)
        else:
            if fields.sent_at is not None:
                message.sent_at = _sent_at(fields, message)
            message.historical = fields.historical_migration is True
            self._parse_event(fields, text, message, 0)
        return []

    def _open_batch(self, fields: Fields, message: _Message) -> list[bytes]:
        if len(message.payload) > MAX_BODY_BYTES:
            raise Rejected(Reason.BODY_TOO_LARGE, f"the body has {len(message.payload)} bytes, the limit is {MAX_BODY_BYTES}")
        raws = elements(bytes(fields.batch))
        message.envelope = fields
        message.token = _first(fields.api_key, fields.token, fields.dollar_token)
        message.sent_at = _sent_at(fields, message)
        message.historical = fields.historical_migration is True
        return raws

    def _parse_element(self, raw: bytes, message: _Message, index: int) -> None:
        """Parse an event of a batch."""
        self.bytes += len(raw)
        if self.facts > MAX_FACTS:
            error = Rejected(Reason.BODY_TOO_LARGE, f"the events before it say more than {MAX_FACTS} things of persons and groups")
            self._reject(error, self._team_or_none(message.token), raw, message, index)
            return
        if self._take(raw, message, index):
            return
        try:
            fields = fields_of(raw)
        except (Rejected, RecursionError) as error:
            self._reject(_rejected(error), self._team_or_none(message.token), raw, message, index)
            return
        self._parse_event(fields, raw, message, index)

    def _close(self, message: _Message) -> None:
        """Put in the letters of a message."""
        for letter in [self._letter_of(message)] if message.is_rubbish else message.letters:
            self.received[letter.team_id, letter.arrival // HOUR] += letter.events
            self.letters.append(letter)
            self.bytes += len(letter.body) + LETTER_BYTES

    def _letter_of(self, message: _Message) -> DeadLetter:
        """Return the one letter of a message with too many events that are rejected."""
        (reason, count), *_ = message.reasons.most_common(1)
        detail = f"{message.rejected} events of the message are rejected, {count} of them as this"
        team = self._team_or_none(message.token)
        return self._letter(Rejected(reason, detail), team, message.payload, message, 0, message.rejected)

    def _parse_captured(self, envelope: Fields, message: _Message) -> None:
        """Parse the event in an envelope; what the edge says of it wins."""
        now, taken = parse_arrival(envelope.now), len(self.events)
        is_ignored = now is not None and self._is_apart(now, message)
        if now is not None and not is_ignored:
            message.arrival, message.stamped = now, True
        message.token = envelope.token
        text = envelope.data.encode(errors="replace")
        if not self._take_captured(text, envelope, message):
            self._parse_enveloped(text, envelope, message)
        if is_ignored and len(self.events) > taken:
            self._warn_event(self.events[-1], WarningType.IGNORED_ARRIVAL, "now", envelope.now)

    def _is_apart(self, now: int, message: _Message) -> bool:
        """Return whether the edge's time cannot be that of a message of a stream, since the broker's is too far from it."""
        if not message.stamped or abs(now - message.arrival) <= MAX_ARRIVAL_APART:
            return False
        return self._origin(message, 0).source.startswith(STREAMS)

    def _parse_enveloped(self, text: bytes, envelope: Fields, message: _Message) -> None:
        try:
            fields = fields_of(text)
        except (Rejected, RecursionError) as error:
            self._reject(_rejected(error), self._team_or_none(envelope.token), message.payload, message, 0)
            return
        message.sent_at = _sent_at(envelope if envelope.sent_at is not None else fields, message)
        fields.uuid = _first(envelope.uuid, fields.uuid)
        fields.distinct_id = _first(envelope.distinct_id, fields.distinct_id)
        fields.token = _first(envelope.token, fields.token)
        fields.ip = _first(envelope.ip, fields.ip)
        self._parse_event(fields, text, message, 0)

    def _parse_event(self, fields: Fields, raw: bytes, message: _Message, index: int) -> None:
        team = 0
        try:
            value = fields.token or fields.dollar_token or fields.api_key or message.token
            if value is not None:
                team = self._team(value)
            event = self._event(team, fields, raw, message, index)
        except (Rejected, RecursionError) as error:
            self._reject(_rejected(error), team, raw, message, index)
        else:
            self.events.append(event)

    def _event(self, team: int, fields: Fields, raw: bytes, message: _Message, index: int) -> Event:
        """Return the event; the order of the checks decides which of several reasons a bad event is given."""
        if len(raw) > MAX_MESSAGE_BYTES:
            raise Rejected(Reason.MESSAGE_SIZE_TOO_LARGE, f"the event has {len(raw)} bytes, the limit is {MAX_MESSAGE_BYTES}")
        if message.shallow is not None and not message.shallow.is_whole(raw):
            raise Rejected(Reason.MALFORMED_EVENT_PROPERTIES, f"nested deeper than {MAX_DEPTH}")
        properties = rules.properties(bytes(fields.properties))
        known = properties_of(properties)
        whole = rules.with_top_level(properties, fields, known)
        if whole is not properties:
            properties, known = whole, properties_of(whole)
        token = fields.token or fields.dollar_token or fields.api_key or message.token or known.token
        if not team:
            team = self._team(token)
        name = rules.event_name(fields.event)
        identity = rules.distinct_id(fields.distinct_id or _first(fields.distinct_id, fields.dollar_distinct_id, known.distinct_id))
        uuid = rules.uuid(fields.uuid)
        if known.profile is False and name in MERGES:
            raise Rejected(Reason.INVALID_EVENT_WHEN_PROCESS_PERSON_PROFILE_IS_FALSE, f"{name} with $process_person_profile false")
        sent_at = message.sent_at
        if sent_at is not None and (known.ignore_sent_at is True or fields.ignore_sent_at is True):
            sent_at = None
        time, time_warning = event_time(fields.timestamp, fields.offset, sent_at, message.arrival)
        if uuid is None:
            uuid = self._made_uuid(fields, raw, message, index)
        event = Event(
            team,
            uuid,
            name if len(name) <= MAX_EVENT_NAME else name[:MAX_EVENT_NAME],
            identity if len(identity) <= MAX_DISTINCT_ID else identity[:MAX_DISTINCT_ID],
            time,
            message.arrival,
            properties,
            known.elements_chain if type(known.elements_chain) is str else "",
            message.historical,
            rules.person_mode(known.profile, identity),
            self._receipt,
            message.offset,
            index,
        )
        if self._dropped and rules.token(token) in self._dropped:
            event.limited = Limit.DROP_TOKENS.value
        else:
            self._add_facts(event, known)
        if (
            time_warning is not None
            or len(name) > MAX_EVENT_NAME
            or len(identity) > MAX_DISTINCT_ID
            or (known.profile is not None and type(known.profile) is not bool)
            or name == CLIENT_WARNING
        ):
            self._warn_about(event, name, identity, fields, known, time_warning)
        return event

    def _add_facts(self, event: Event, known: Properties) -> None:
        """Put in what the event says of persons; nothing, if it is without one."""
        says_more = known.set is not NOTHING or known.set_once is not NOTHING or known.unset is not NOTHING
        if event.person_mode == PersonMode.FULL:
            if event.event not in SILENT:
                event.copied = copied_of(known)
            if known.groups is not NOTHING:
                event.groups = group_columns(bytes(known.groups), self._registry.group_types_of(event.team_id))
            if says_more or event.event in SPEAKING:
                self._listen(event)
            return
        if event.event in MERGES:
            self._warn_event(event, WarningType.CANNOT_MERGE_WITH_ILLEGAL_DISTINCT_ID, "distinct_id", event.distinct_id)
        if says_more or known.groups is not NOTHING:
            event.properties = without_person(event.properties)

    def _listen(self, event: Event) -> None:
        """Put in what the event says itself."""

        def warn(kind: WarningType, field: str, value: Any) -> None:
            self._warn_event(event, kind, field, value)

        add_facts(event, warn)
        facts = len(event.facts) + len(event.group_facts)
        self.facts += facts
        self.bytes += FACT_BYTES * facts

    def _made_uuid(self, fields: Fields, raw: bytes, message: _Message, index: int) -> bytes:
        """Return a uuid that holds no time of reading: that differs the next time."""
        micros = parse_time(fields.timestamp)
        if micros is None:
            micros = message.arrival if message.stamped else 0
        origin = self._origin(message, index)
        place = f"{origin.source}\0{origin.offset}\0{origin.index}".encode(errors="surrogatepass")
        return rules.made_uuid(micros // 1000, place, raw)

    def _origin(self, message: _Message, index: int) -> Origin:
        """Return where an event was when it was tried first."""
        known = message.origin
        if known is None:
            return Origin(self._source, self._receipt, message.offset, index, message.stamped)
        return Origin(known.source, known.receipt, known.offset, known.index + index, message.stamped, known.attempts)

    def _team(self, value: Any) -> int:
        """Return the team of a token.

        Raises:
            Rejected: missing_token, invalid_token or unknown_token.
        """
        if type(value) is str and (found := self._teams.get(value)) is not None:
            return found
        token = rules.token(value)
        team = self._registry.team_id(token)
        if team is None:
            raise Rejected(Reason.UNKNOWN_TOKEN, f"no team has the token {token[:4]}...")
        self._teams[value] = team
        return team

    def _team_or_none(self, value: Any) -> int:
        """Return the team of a token, 0 if there is none."""
        try:
            return self._team(value)
        except Rejected:
            return 0

    def _reject(self, error: Rejected, team: int, raw: bytes, message: _Message, index: int) -> None:
        message.rejected += 1
        message.reasons[error.reason] += 1
        if message.is_rubbish:
            message.letters.clear()
        else:
            message.add(self._letter(error, team, message.letter(raw), message, index))
        if team:
            self._warn(team, error.reason.value, "", {"detail": error.detail}, message.arrival, message.offset)

    def _letter(self, error: Rejected, team: int, body: bytes, message: _Message, index: int, events: int = 1) -> DeadLetter:
        origin = self._origin(message, index)
        return DeadLetter(
            team,
            error.reason.value,
            error.detail,
            STEP,
            body,
            message.arrival,
            self._receipt,
            message.offset,
            index,
            message.stamped,
            origin.attempts + 1,
            origin.source,
            origin.receipt,
            origin.offset,
            origin.index,
            events,
        )

    def _warn_about(self, event: Event, name: str, identity: str, fields: Fields, known: Properties, time: WarningType | None) -> None:
        if len(name) > MAX_EVENT_NAME:
            self._warn_event(event, WarningType.EVENT_NAME_TOO_LONG, "event", name, MAX_EVENT_NAME)
        if len(identity) > MAX_DISTINCT_ID:
            self._warn_event(event, WarningType.DISTINCT_ID_TRUNCATED, "distinct_id", identity, MAX_DISTINCT_ID)
        if time is not None:
            self._warn_event(event, time, "timestamp", fields.timestamp if fields.offset is None else fields.offset)
        if known.profile is not None and type(known.profile) is not bool:
            self._warn_event(event, WarningType.INVALID_PROCESS_PERSON_PROFILE, "$process_person_profile", known.profile)
        if name == CLIENT_WARNING:
            self._warn_event(event, WarningType.CLIENT_INGESTION_WARNING, "$$client_ingestion_warning_message", known.warning)

    def _warn_event(self, event: Event, kind: WarningType, field: str, value: Any, limit: int | None = None) -> None:
        details = {"field": field, "value": rules.shown(value), "event": event.event, "distinct_id": event.distinct_id}
        if limit is not None:
            details["limit"] = str(limit)
        self._warn(event.team_id, kind.value, field, details, event.arrival, event.offset)

    def _warn(self, team: int, kind: str, key: str, details: dict[str, str], arrival: int, offset: int) -> None:
        """Add a warning, or count it to the one of its team, type and key."""
        known = self.warnings.get((team, kind, key))
        if known is not None:
            known.count += 1
            return
        text = msgspec.json.encode(details).decode()
        self.warnings[team, kind, key] = IngestionWarning(team, kind, key, text, 1, arrival, self._receipt, offset)


class _PlainTeams(dict[str, int]):
    """Teams by token; 0 for tokens that need a closer look: unknown ones, and those whose events are dropped."""

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self._registry = registry

    def __missing__(self, value: str) -> int:
        try:
            token = rules.token(value)
        except Rejected:
            team = None
        else:
            team = self._registry.team_id(token) if token not in self._registry.dropped_tokens else None
        self[value] = team or 0
        return self[value]


def _rejected(error: Exception) -> Rejected:
    return error if isinstance(error, Rejected) else refuse(error)


def _first(*values: Any) -> Any:
    """Return the first value that is there: neither None nor empty."""
    for value in values:
        if value is not None and value != "":
            return value
    return None


def _is_uuid(text: Any, uuid: bytes) -> bool:
    """Return whether a text is a uuid, or nothing."""
    return not text or (type(text) is str and len(text) == 36 and text.replace("-", "") == uuid.hex())


def _sent_at(fields: Fields, message: _Message) -> int | None:
    """Return the client's clock, if the arrival that it is compared with is known, and not just the time of reading."""
    return parse_time(fields.sent_at) if message.stamped and fields.ignore_sent_at is not True else None
