"""Events to batches, as the clients' libraries send them: a JSON object a line in shape `batch`, a request body in shape `http`."""

import base64
import gzip
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from msgspec import UNSET

from pipelines.generate.draws import HOUR_MICROS, Ints, texts, time_chars
from pipelines.generate.faults import Flaw, Part, spoiled, spoiled_body
from pipelines.generate.plan import Plan
from pipelines.generate.render import Rendered
from pipelines.generate.shapes import Packed, sent_times
from pipelines.generate.traffic import FIRST_SERVER_KIND, Rows, Traffic

MAX_BATCH = 50  # events
MAX_WINDOW = 1_000  # positions whose events can be put in one batch

_JS = b'{%b"batch":[%b],"sent_at":"%bZ"}'
_PYTHON = b'{"batch":[%b],"historical_migration":%b,%b"sent_at":"%b000+00:00"}'
_BARE_EVERY = 10  # request bodies of browsers: an event, or an array of them, around which there is nothing
# Shares of the messages, as upper bounds of a draw below 100.
_HISTORICAL = 2
_WEB_GZIP, _WEB_BASE64 = 75, 95
_SERVER_GZIP = 40


@dataclass(frozen=True)
class _Message:
    """A batch before it is written.

    Attributes:
        places: of its events among the rows, the last to arrive at the end.
        api_key: the member that holds the token, with a comma.
        server: whether a backend sends it.
        flaw: what is wrong with all of it.
        good: whether nothing is wrong with any of it.
    """

    places: list[int]
    api_key: bytes
    server: bool
    flaw: Flaw | None
    good: bool


class Batches:
    """One batch a message: up to 50 events of one token, from browsers or from backends.

    Args:
        plan: says whether these are request bodies.
        traffic: what the rows are of.
    """

    def __init__(self, plan: Plan, traffic: Traffic) -> None:
        self._draws = traffic.draws
        self._tokens = traffic.teams.tokens
        self._http = plan.shape == "http"
        # A batch arrives with its last event: with an hour's events at most, it stays near to the others' time.
        self._window = max(1, min(MAX_WINDOW, plan.events // (24 * plan.days))) if self._http else MAX_WINDOW

    def pack(self, rows: Rows, rendered: Rendered, flaws: dict[int, Flaw]) -> Packed:
        """Return the messages of the rows."""
        events = rendered.events
        for place, flaw in flaws.items():
            events[place] = spoiled(events[place], flaw)
        messages = sorted(self._messages(rows, flaws), key=lambda message: message.places[-1])
        ends = rows.take(np.array([message.places[-1] for message in messages], np.int64))
        sent = texts(time_chars(sent_times(self._draws, ends)))
        draws = self._draws.below("form", ends.position, 100 * _BARE_EVERY).tolist()
        bodies = [
            self._body(message, [events[place] for place in message.places], at, draw)
            for message, at, draw in zip(messages, sent, draws, strict=True)
        ]
        if not self._http:
            return Packed(bodies, [], np.zeros(len(rows), np.int64))
        hours = np.empty(len(rows), np.int64)
        for message, hour in zip(messages, (ends.arrival // HOUR_MICROS).tolist(), strict=True):
            hours[message.places] = hour
        return Packed(bodies, texts(time_chars(ends.arrival), after=b"Z"), hours)

    def _messages(self, rows: Rows, flaws: dict[int, Flaw]) -> Iterator[_Message]:
        alone = {place: flaw for place, flaw in flaws.items() if flaw.fault.part is not Part.EVENT}
        tokens, server = rows.token.tolist(), (rows.kind >= FIRST_SERVER_KIND).tolist()
        for place, flaw in alone.items():
            yield _Message([place], self._api_key(tokens[place], flaw), server[place], flaw, False)
        together = np.array([place for place in range(len(rows)) if place not in alone], np.int64)
        for places in self._groups(rows.take(together)):
            chosen = together[places].tolist()
            yield _Message(chosen, self._api_key(tokens[chosen[0]], None), server[chosen[0]], None, flaws.keys().isdisjoint(chosen))

    def _groups(self, rows: Rows) -> Iterator[Ints]:
        """Yield the places of each batch's events."""
        group = (rows.position // self._window << 40) + (rows.token << 1) + (rows.kind >= FIRST_SERVER_KIND)
        order = np.argsort(group, kind="stable")
        limits = (1 + self._draws.log_below("batch", rows.position, np.full(len(rows), MAX_BATCH))).tolist()
        ends = [*(np.flatnonzero(np.diff(group[order])) + 1).tolist(), len(rows)]
        first = 0
        for end in ends:
            while first < end:
                after = min(end, first + limits[first])
                yield order[first:after]
                first = after

    def _api_key(self, token: int, flaw: Flaw | None) -> bytes:
        if flaw is None or flaw.fault.part is not Part.TOKEN:
            return b'"api_key":"%b",' % self._tokens[token]
        return b"" if flaw.value is UNSET else b'"api_key":%b,' % msgspec.json.encode(flaw.value)

    def _body(self, message: _Message, events: list[bytes], sent_at: bytes, draw: int) -> bytes:
        joined = b",".join(events)
        draw, bare = divmod(draw, _BARE_EVERY)
        if message.server:
            historical = b"true" if draw < _HISTORICAL else b"false"
            body = _PYTHON % (joined, historical, message.api_key, sent_at)
        elif self._http and message.good and bare == 0:
            body = joined if len(events) == 1 else b"[%b]" % joined
        else:
            body = _JS % (message.api_key, joined, sent_at)
        if message.flaw is not None and message.flaw.fault.part is Part.BODY:
            return spoiled_body(body, message.flaw)
        return _wrapped(body, message.server, draw) if self._http else body


def _wrapped(body: bytes, server: bool, draw: int) -> bytes:
    """Return a request body as it is sent: plain, gzip, or the form in which browsers send the last events of a page."""
    if draw < (_SERVER_GZIP if server else _WEB_GZIP):
        return gzip.compress(body, 1, mtime=0)
    if not server and draw < _WEB_BASE64:
        # What urllib's quote_plus returns, 50 times as fast.
        return b"data=" + base64.b64encode(body).replace(b"+", b"%2B").replace(b"/", b"%2F").replace(b"=", b"%3D")
    return body
