"""Events to messages, and those of one event: shapes `event` and `captured`. Batches are in batches.py."""

from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np
from msgspec import UNSET

from pipelines.generate.draws import HOUR_MICROS, Draws, Ints, texts, time_chars
from pipelines.generate.faults import Flaw, spoiled, spoiled_body
from pipelines.generate.render import Rendered
from pipelines.generate.traffic import Rows, Traffic

_CAPTURED = b'{%b"distinct_id":"%b","ip":"%b","data":"%b","now":"%bZ","sent_at":"%bZ","token":"%b"}'
_IPS = [f"{net}{host}".encode() for net in ("203.0.113.", "198.51.100.", "2001:db8::") for host in range(1, 255)]


@dataclass(frozen=True)
class Packed:
    """Messages in the order in which they are written.

    Attributes:
        bodies: their bytes.
        nows: when each arrived, as text; empty if the message says so itself, or nothing does.
        hours: the hour of arrival of each row's event, as hours since 1970; 0 if it is when the file is read.
    """

    bodies: list[bytes]
    nows: list[bytes]
    hours: Ints


class Packer(Protocol):
    """Put events in messages."""

    def pack(self, rows: Rows, rendered: Rendered, flaws: dict[int, Flaw]) -> Packed:
        """Return the messages of the rows.

        Args:
            rows: a block.
            rendered: its events, all good.
            flaws: what is wrong with some, by their place among the rows.
        """


class Events:
    """One event a line, with its token."""

    def pack(self, rows: Rows, rendered: Rendered, flaws: dict[int, Flaw]) -> Packed:
        """Return the messages of the rows."""
        bodies = rendered.events
        for place, flaw in flaws.items():
            bodies[place] = spoiled_body(spoiled(bodies[place], flaw), flaw)
        return Packed(bodies, [], np.zeros(len(rows), np.int64))


class Captured:
    """One event a line, in the envelope that PostHog's edge puts on its topic."""

    def __init__(self, traffic: Traffic) -> None:
        self._draws = traffic.draws
        self._tokens = traffic.teams.tokens

    def pack(self, rows: Rows, rendered: Rendered, flaws: dict[int, Flaw]) -> Packed:
        """Return the messages of the rows."""
        columns = (
            [b'"uuid":"%b",' % uuid if uuid else b"" for uuid in rendered.uuids],
            rendered.distinct_ids,
            [_IPS[place] for place in self._draws.below("ip", rows.user, len(_IPS)).tolist()],
            [event.replace(b"\\", b"\\\\").replace(b'"', b'\\"') for event in rendered.events],
            texts(time_chars(rows.arrival)),
            texts(time_chars(sent_times(self._draws, rows))),
            [self._tokens[token] for token in rows.token.tolist()],
        )
        bodies = [_CAPTURED % row for row in zip(*columns, strict=True)]
        for place, flaw in flaws.items():
            bodies[place] = _spoiled_capture(bodies[place], flaw)
        return Packed(bodies, [], rows.arrival // HOUR_MICROS)


def _spoiled_capture(body: bytes, flaw: Flaw) -> bytes:
    """Return the message with the flaw in the envelope too, so that neither place holds a good value."""
    envelope = msgspec.json.decode(body)
    envelope["data"] = spoiled(envelope["data"].encode(), flaw).decode()
    field = flaw.fault.field
    if field in ("uuid", "distinct_id", "token"):
        envelope.pop(field, None)
        if flaw.value is not UNSET:
            envelope[field] = flaw.value
    return spoiled_body(msgspec.json.encode(envelope), flaw)


def sent_times(draws: Draws, rows: Rows) -> Ints:
    """Return when messages were sent, by the client's clock."""
    return rows.arrival - 20_000 - draws.below("transit", rows.position, 400_000) + rows.skew
