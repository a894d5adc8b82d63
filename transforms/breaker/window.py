"""What was seen of the last batches of a stream: how many events of which teams were accepted, and who sent what was not."""

import re
from collections import Counter, deque
from collections.abc import Iterator
from typing import NamedTuple

from schemas.event import Batch, DeadLetter
from schemas.message import Messages
from schemas.outcomes import Report

SECONDS = 60.0
KEPT_EVENTS = 1_000  # however old: where little comes, a minute says nothing
MOST_EVENTS = 50_000
TOKEN = r'"(?:\$?token|api_key)\\?"\s*:\s*\\?"([^"\\]{1,64})'  # in a message of any shape, also where it is escaped
_TOKEN = re.compile(TOKEN.encode())

Sender = int | bytes  # a team, or a token that no team has


class Seen(NamedTuple):
    """One batch.

    Attributes:
        source: what it was read from: a partition, a subscription.
        at: monotonic seconds.
        first, last: arrivals of its messages, microseconds since 1970.
        events, rejected: how many.
        accepted: events by team.
        senders: rejected events by who sent them, where that can be told.
        reasons: rejected events by Reason.
    """

    source: str
    at: float
    first: int
    last: int
    events: int
    rejected: int
    accepted: Counter[int]
    senders: Counter[Sender]
    reasons: Counter[str]


def seen_of(messages: Messages, batch: Batch, report: Report, places: range, now: float) -> Seen:
    """Return what ParseEvents made of some messages, in numbers.

    Args:
        messages: what was read.
        batch, report: what became of some of them; the letters are what was rejected.
        places: which messages that were.
        now: monotonic seconds.
    """
    accepted: Counter[int] = Counter()
    senders: Counter[Sender] = Counter()
    reasons: Counter[str] = Counter()
    for tally in report.tallies:
        accepted[tally.team_id] += tally.count
    events = accepted.total()
    for letter in batch.letters:
        accepted[letter.team_id] -= letter.events
        reasons[letter.reason] += letter.events
        if sender := sender_of(letter):
            senders[sender] += letter.events
    arrivals = [arrival or messages.arrival for arrival in messages.arrivals[places.start : places.stop] or [0]]
    return Seen(messages.source, now, min(arrivals), max(arrivals), events, reasons.total(), +accepted, senders, reasons)


def sender_of(letter: DeadLetter) -> Sender:
    """Return the team of a rejected event, or the token that it came with; nothing if neither can be told."""
    if letter.team_id:
        return letter.team_id
    found = _TOKEN.search(letter.body)
    return found[1] if found else b""


class Window:
    """The last batches of one stream: of the last minute, or more where little comes, or less where much does."""

    def __init__(self) -> None:
        self._batches: deque[Seen] = deque()
        self._events = 0

    def add(self, seen: Seen) -> None:
        """Take in a batch, and forget what is too old or too much."""
        self._batches.append(seen)
        self._events += seen.events
        while self._is_over(self._batches[0], seen.at):
            self._events -= self._batches.popleft().events

    def newest_first(self) -> Iterator[Seen]:
        """Yield the batches."""
        return reversed(self._batches)

    def _is_over(self, oldest: Seen, now: float) -> bool:
        left = self._events - oldest.events
        return left >= MOST_EVENTS or (left >= KEPT_EVENTS and oldest.at < now - SECONDS)
