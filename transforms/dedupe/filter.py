"""The duplicate filter: which events of a batch are the first of their (team, uuid) within the window."""

import itertools
import math
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary

import msgspec
import numpy as np

from schemas.event import Event
from schemas.identity import BUCKETS, KEY_BYTES
from schemas.limits import WINDOW_DAYS
from transforms.dedupe.ids import Days, IdIndex, Mask
from transforms.state.shard_log import Head, Indexes, Log, new_generation

DAY = 86_400_000_000  # microseconds
RING = WINDOW_DAYS + 1  # days of arrival that a log keeps: today and the window before it
# Indexes may know more days than that: a backfill brings old ones. Those used least recently go first.
MAX_DAYS = 4 * RING
LAST_DAY = 65_535  # in 2149: days are kept in 16 bits
# What was stored so many microseconds before a state knew all is read again when an index is rebuilt from that state.
MARGIN = 600_000_000
# Microseconds between two looks at what others have stored: other jobs, or the last insert of a worker that was killed. With that, two
# rows of one id are seconds to minutes apart, however long two jobs run side by side.
REFRESH = 30_000_000
# What was stored so many microseconds before the frontier is read again: should it be wrong, since not all inserts can be seen.
LATE = 120_000_000

Delivery = tuple[int, int, int]  # receipt, offset, index: one delivery of one event


class StoredIds(NamedTuple):
    """What the tables know of a shard: keys by day of arrival, and the receipts of this very run that some of them came with."""

    days: dict[int, bytes]
    receipts: set[int]


class IdTable(Protocol):
    """The table of stored ids; see transforms/sink/event_ids.py."""

    alone: bool
    """Whether nobody else can write to it."""

    def load(self, shard: int, shards: int, days: Sequence[int], since: int) -> StoredIds:
        """Return the ids of a shard that arrived on `days` and were stored after `since`, microseconds since 1970."""

    def deliveries(self, shard: int, shards: int, receipts: Collection[int]) -> set[Delivery]:
        """Return what is stored of some receipts in a shard."""

    def final(self) -> int:
        """Return up to when rows are final, microseconds since 1970: none will appear that was stored before."""

    def others_since(self, since: int) -> bool:
        """Return whether another run than this one was at work after `since`, microseconds since 1970."""


class Verdicts(NamedTuple):
    """Places in a batch: events to store, duplicates, limited ones, and those that an earlier attempt of this very bundle has stored."""

    new: list[int]
    duplicate: list[int]
    limited: list[int]
    stored: list[int]


class _Head(msgspec.Struct, array_like=True):
    generation: int = 0
    learned: int = 0  # the logs have what anybody stored before; the time of rows, microseconds since 1970
    days: list[int] = []  # days of arrival whose log is complete up to then, and with what went through this filter since


class ShardIndex:
    """The working form of one shard.

    Args:
        built: the time of rows, microseconds since 1970.
        learned: up to when rows are final.
    """

    def __init__(self, built: int, learned: int) -> None:
        self.ids = IdIndex()
        self.days: dict[int, int] = {}  # days of arrival that `ids` knows all of, least recently used first, and when that was
        self.receipts: set[int] = set()  # of this run, that had rows when the index was built: what came with them is asked for when needed
        self.deliveries: set[Delivery] = set()
        self.built = self.looked = built
        self.learned = learned

    def touch(self, days: Iterable[int], turn: int) -> None:
        """Mark days as used."""
        for day in days:
            self.days.pop(day, None)
            self.days[day] = turn

    def evict(self, before: float, keep: int = MAX_DAYS) -> None:
        """Forget the days used least recently but for `keep` of them, and those that were used in the turn `before` or later."""
        if len(self.days) > keep:
            gone = [day for day, turn in list(self.days.items())[:-keep] if turn < before]
            self.ids.forget(gone)
            for day in gone:
                del self.days[day]


class DuplicateFilter:
    """Find the first event of each (team, uuid) among those that arrive within 7 to 8 days, by shard.

    Exact, in any order of arrival days. What it cannot remember it reads back from `table`, if there is one: the days that it
    has not seen, and after a loss or rollback of state what was stored since.

    Args:
        shards: the number of shards; it divides 256.
        table: the stored ids, or None to know only what went through this filter.
        log: whether the shards' logs are kept in the runner's state. Without them an index is rebuilt from the table alone.
    """

    def __init__(self, shards: int, table: IdTable | None, log: bool) -> None:
        check_shards(shards)
        self.indexes: Indexes[ShardIndex] = Indexes()
        self._shards = shards
        self._table = table
        self._log = log
        self._turns = itertools.count(1)
        self._unsettled: WeakKeyDictionary[object, int] = WeakKeyDictionary()

    def judge(
        self, shard: int, events: Sequence[Event], keys: bytes, now: int, head: Head, logs: Sequence[Log], owner: object = None
    ) -> Verdicts:
        """Return which events of a shard's batch are new, and remember those.

        Args:
            shard: the shard.
            events: events of that shard; those that are `limited` are only told apart from what is stored already.
            keys: their unique keys, 16 bytes each.
            now: the time of rows, microseconds since 1970; the worker's, if there is no table.
            head: the shard's head.
            logs: the shard's logs, one for each day of the ring.
            owner: who calls `evict` when all events that were judged new for it are stored; until then they are not forgotten.
        """
        turn = next(self._turns)
        if owner is not None:
            self._unsettled.setdefault(owner, turn)
        state = msgspec.msgpack.decode(head.read() or b"\x90", type=_Head)
        index = self._open(shard, state, logs, now, turn)
        _drop_evicted(state, logs, index)
        self._refresh(shard, index, state, logs, now)
        days = _days([event.arrival for event in events])
        self._know(shard, index, days, turn)
        singles = [keys[at : at + KEY_BYTES] for at in range(0, len(keys), KEY_BYTES)]
        known = index.ids.find(singles, days, WINDOW_DAYS)
        self._recall(shard, index, {events[place].receipt for place in np.flatnonzero(known).tolist()})
        verdicts = _sort(index, events, singles, known)
        fresh, fresh_days = [singles[place] for place in verdicts.new], days[verdicts.new]
        index.ids.add(fresh, fresh_days)
        if self._log:
            _append(state, logs, index, fresh, fresh_days)
        state.generation = new_generation()
        head.write(msgspec.msgpack.encode(state))
        self.indexes.put(shard, state.generation, index)
        return verdicts

    def is_crowded(self) -> bool:
        """Return whether a shard knows so many days that `evict` is due."""
        return any(len(index.days) > 2 * MAX_DAYS for index in self.indexes.values())

    def evict(self, owner: object = None) -> None:
        """Bound the memory. To be called when all events that were judged new for an owner are stored, or will never be."""
        if owner is not None:
            self._unsettled.pop(owner, None)
        before = min(self._unsettled.values(), default=math.inf)
        for index in self.indexes.values():
            index.evict(before)

    def _open(self, shard: int, state: _Head, logs: Sequence[Log], now: int, turn: int) -> ShardIndex:
        """Return the shard's index, rebuilt from its logs and what the table says was stored since if it is not of this state."""
        index = self.indexes.get(shard, state.generation)
        if index is None:
            index = ShardIndex(now, self._final(now))
            for day in state.days:
                index.ids.extend(b"".join(logs[day % RING].read()), day)
            index.touch(state.days, turn)
            if state.days:
                self._learn(shard, index, state, logs, since=state.learned - MARGIN)
            state.learned = index.learned
        return index

    def _refresh(self, shard: int, index: ShardIndex, state: _Head, logs: Sequence[Log], now: int) -> None:
        """Take in what others have stored meanwhile: while there are others, and until whoever was killed before is surely done."""
        if self._table is None or self._table.alone or 0 <= now - index.looked < REFRESH:
            return
        final = self._final(now)
        if index.learned <= index.built + LATE or self._table.others_since(index.learned - MARGIN):
            self._learn(shard, index, state, logs, since=index.learned - LATE)
        index.looked, index.learned, state.learned = now, final, final

    def _final(self, now: int) -> int:
        """Return up to when rows are final. It is asked for before they are read."""
        return now if self._table is None or self._table.alone else min(now, self._table.final())

    def _learn(self, shard: int, index: ShardIndex, state: _Head, logs: Sequence[Log], since: int) -> None:
        """Take in what was stored on known days since a moment, and what is new of it also into the logs of these days."""
        for day, keys in self._read(shard, index, list(index.days), since).items():
            fresh = list(dict.fromkeys(keys[at : at + KEY_BYTES] for at in range(0, len(keys), KEY_BYTES)))
            known = index.ids.find(fresh, np.full(len(fresh), day, np.uint16), 0)
            if new := b"".join(fresh[place] for place in np.flatnonzero(~known)):
                index.ids.extend(new, day)
                if day in state.days:
                    logs[day % RING].add(new)

    def _recall(self, shard: int, index: ShardIndex, receipts: set[int]) -> None:
        """Ask for the deliveries of receipts that an earlier attempt of the same bundles may have stored in part."""
        if self._table is not None and (asked := receipts & index.receipts):
            index.receipts -= asked
            index.deliveries |= self._table.deliveries(shard, self._shards, asked)

    def _know(self, shard: int, index: ShardIndex, days: Days, turn: int) -> None:
        """Make sure that the index knows all days within a window of `days`."""
        window = {near for day in set(days.tolist()) for near in range(day - WINDOW_DAYS, day + WINDOW_DAYS + 1)}
        if missing := sorted(window.difference(index.days)):
            for day, keys in self._read(shard, index, missing, since=0).items():
                index.ids.extend(keys, day)
        index.touch(window, turn)

    def _read(self, shard: int, index: ShardIndex, days: Sequence[int], since: int) -> dict[int, bytes]:
        """Return the stored ids of some days."""
        if self._table is None:
            return {}
        found = self._table.load(shard, self._shards, days, since)
        index.receipts |= found.receipts
        return found.days


def _drop_evicted(state: _Head, logs: Sequence[Log], index: ShardIndex) -> None:
    """Drop the logs of days that the index has forgotten: what others store of them is not read any more."""
    for day in [day for day in state.days if day not in index.days]:
        logs[day % RING].clear()
        state.days.remove(day)


def check_shards(shards: int) -> None:
    """Raise ValueError for a number of shards that does not divide the number of buckets."""
    if shards < 1 or BUCKETS % shards:
        raise ValueError(f"shards is {shards}, but must be a power of two from 1 to {BUCKETS}")


def _days(arrivals: list[int]) -> Days:
    return np.clip(np.array(arrivals, dtype=np.int64) // DAY, 0, LAST_DAY).astype(np.uint16)


def _sort(index: ShardIndex, events: Sequence[Event], keys: Sequence[bytes], known: Mask) -> Verdicts:
    """Return the verdict on each event, by whether its key is known."""
    if not known.any() and len(set(keys)) == len(keys) and not any(event.limited for event in events):
        return Verdicts(list(range(len(keys))), [], [], [])
    out = Verdicts([], [], [], [])
    first: dict[bytes, int] = {}
    for place, (event, key, is_known) in enumerate(zip(events, keys, known.tolist(), strict=True)):
        if is_known and (delivery := (event.receipt, event.offset, event.index)) in index.deliveries:
            index.deliveries.discard(delivery)
            out.stored.append(place)
        elif event.limited:
            out.limited.append(place)
        elif is_known or key in first:
            out.duplicate.append(place)
        else:
            first[key] = place
            out.new.append(place)
    return out


def _append(state: _Head, logs: Sequence[Log], index: ShardIndex, keys: list[bytes], days: Days) -> None:
    """Write new keys to the logs of their days; a day that is new in the ring takes the place of the one that has passed."""
    for day in sorted(set(days.tolist())):
        newest = max([day, *state.days])
        if day <= newest - RING:
            continue  # older than the ring: such a day is read back from the table
        for old in [old for old in state.days if old <= newest - RING]:
            logs[old % RING].clear()
            state.days.remove(old)
        if day in state.days:
            logs[day % RING].add(b"".join([keys[place] for place in np.flatnonzero(days == day)]))
        else:
            logs[day % RING].add(index.ids.keys_of(day))
            state.days.append(day)
