"""An exact index of 16-byte keys and their days, at about 19 bytes a key: sorted runs in numpy, merged like an LSM tree."""

import mmap
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

KEY_BYTES = 16
# A dict costs about 120 bytes a key, a run one search a batch: this keeps both small.
RECENT_KEYS = 8192
# A run is merged into the one before it unless that is at least so many times larger: few runs to search, few times merged.
GROWTH = 3
# A run has a grid: where the keys of each value of the first bits start, for at most about so many keys a cell.
CELL_KEYS = 8
# In cells with more keys, which nobody gets by chance, a key is searched for by all its bits: a client can make up uuids whose keys begin
# alike.
LONG_CELL = 8 * CELL_KEYS
# A sieve has at least so many bits a key: fewer than one in so many unknown keys is searched for.
SIEVE_BITS = 4
# Long columns are worked at in slices of about so many keys, which fit the cache and take little memory.
SLICE_KEYS = 32_768
# Columns from so many bytes on have pages of their own. From malloc's heap too little comes back: 25 bytes a key instead of 19.
PAGED_BYTES = 1 << 18

U64 = npt.NDArray[np.uint64]
Days = npt.NDArray[np.uint16]  # since 1970
Column = npt.NDArray[Any]
Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

ALL = slice(None)
BITS = np.left_shift(1, np.arange(8)).astype(np.uint8)


class Run:
    """Keys, sorted, as two columns of 64 bits, and their days, counted from the run's first: one byte a key, if within 256 days."""

    __slots__ = ("_first", "_grid", "_offsets", "_shift", "high", "low")

    def __init__(self, high: U64, low: U64, first: int, offsets: Column) -> None:
        self.high = high
        self.low = low
        self._first = np.uint16(first)
        self._offsets = offsets
        bits = max(1, (len(high) // CELL_KEYS).bit_length())
        self._shift = np.uint64(64 - bits)
        self._grid = _column((1 << bits) + 1, np.uint32)
        for part in _slices(1 << bits):
            cells = np.arange(part.start, part.stop, dtype=np.uint64)
            self._grid[part] = np.searchsorted(high, cells << self._shift)
        self._grid[-1] = len(high)

    @classmethod
    def of(cls, keys: bytes, days: Days) -> "Run":
        """Return the sorted run of some concatenated keys, at least one."""
        high, low = halves(keys)
        order = _order(high, low, "quicksort")
        first, last = int(days.min()), int(days.max())
        offsets = (days[order] - np.uint16(first)).astype(np.min_scalar_type(last - first))
        return cls(_kept(high[order]), _kept(low[order]), first, _kept(offsets))

    @classmethod
    def merge(cls, runs: "Sequence[Run]") -> "Run":
        """Return one run of some that are not empty, and are of no use afterwards: memory is given back as soon as it is copied."""
        size = sum(map(len, runs))
        first = min(int(run._first) + int(run._offsets.min()) for run in runs)
        last = max(int(run._first) + int(run._offsets.max()) for run in runs)
        high, low, offsets = _column(size, np.uint64), _column(size, np.uint64), _column(size, np.min_scalar_type(last - first))
        done = 0
        for parts in _cut(runs):
            highs = np.concatenate([run.high[part] for run, part in parts])
            lows = np.concatenate([run.low[part] for run, part in parts])
            order = _order(highs, lows, "stable")  # it finds what is sorted already, and merges that
            out = slice(done, done + len(order))
            high[out], low[out] = highs[order], lows[order]
            offsets[out] = np.concatenate([run.days(part) for run, part in parts])[order] - np.uint16(first)
            done = out.stop
            for run, part in parts:
                run._give_up(part)
        return cls(high, low, first, offsets)

    def _give_up(self, part: slice) -> None:
        """Return the memory of a part, up to pages, to the system."""
        for column in (self.high, self.low, self._offsets):
            if isinstance(column.base, memoryview):  # see `_column`
                start, end = (place * column.itemsize // mmap.PAGESIZE * mmap.PAGESIZE for place in (part.start, part.stop))
                column.base.obj.madvise(mmap.MADV_DONTNEED, start, end - start)

    def only(self, mask: Mask) -> "Run":
        """Return the run of the keys that a mask selects."""
        return Run(_kept(self.high[mask]), _kept(self.low[mask]), int(self._first), _kept(self._offsets[mask]))

    def days(self, at: slice | Places = ALL) -> Days:
        """Return the days of the keys at some places."""
        return np.add(self._offsets[at], self._first, dtype=np.uint16)

    def __len__(self) -> int:
        return len(self.high)

    def find(self, high: U64, low: U64, days: Days, within: int) -> Places:
        """Return the places of those of some keys that are in the run with a day at most `within` days from theirs.

        Keys are spread evenly, so the first bits of a key tell the few places where it can be, and all of them are looked at. A binary
        search misses the cache at each step: numpy's takes three times as long in 4 million keys (`benchmarks/dedupe.py`).
        """
        cell = (high >> self._shift).astype(np.int64)
        start, end = self._grid[cell].astype(np.int64), self._grid[cell + 1].astype(np.int64)
        if len(long := np.flatnonzero(end - start > LONG_CELL)):
            start[long], end[long] = self._search(high[long], low[long])
        count = end - start
        query = np.arange(len(high)).repeat(count)
        at = np.arange(len(query)) + (end - count.cumsum()).repeat(count)
        same = np.flatnonzero(self.high[at] == high[query])
        at, query = at[same], query[same]
        near = np.abs(self.days(at).astype(np.int32) - days[query].astype(np.int32)) <= within
        found: Places = query[near & (self.low[at] == low[query])]
        return found

    def _search(self, high: U64, low: U64) -> tuple[Places, Places]:
        """Return where the places of each of some keys start and end."""
        start, end = (np.searchsorted(self.high, high, side) for side in ("left", "right"))
        is_long = end - start > LONG_CELL  # of keys whose whole first halves are equal
        for first, last in set(zip(start[is_long].tolist(), end[is_long].tolist(), strict=True)):
            asked = np.flatnonzero(is_long & (start == first))
            start[asked], end[asked] = (first + np.searchsorted(self.low[first:last], low[asked], side) for side in ("left", "right"))
        return start, end


class Sieve:
    """The first bits of keys, as a bitmap: it passes each key that was added, and few others.

    Args:
        keys: how many there is room for, at least.
    """

    __slots__ = ("_bitmap", "_shift", "room")

    def __init__(self, keys: int) -> None:
        bits = (keys * SIEVE_BITS + 7).bit_length()
        self.room = (1 << bits) // SIEVE_BITS
        self._shift = np.uint64(64 - bits)
        self._bitmap = _column(1 << (bits - 3), np.uint8)

    def add(self, high: U64) -> None:
        """Add keys by their first half."""
        for part in _slices(len(high)):
            byte, bit = self._place(high[part])
            np.bitwise_or.at(self._bitmap, byte, bit)

    def passes(self, high: U64) -> Places:
        """Return the places of the keys that may be among those that were added."""
        byte, bit = self._place(high)
        return np.flatnonzero(self._bitmap[byte] & bit)

    def _place(self, high: U64) -> tuple[Places, Column]:
        place = (high >> self._shift).astype(np.int64)
        return place >> 3, BITS[place & 7]


def halves(keys: bytes) -> tuple[U64, U64]:
    """Return the two 64-bit halves of each of some concatenated keys."""
    pairs = np.frombuffer(keys, dtype="<u8").reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _slices(size: int) -> Iterator[slice]:
    return (slice(at, min(at + SLICE_KEYS, size)) for at in range(0, size, SLICE_KEYS))


def _order(high: U64, low: U64, kind: Literal["quicksort", "stable"]) -> Places:
    """Return the places of keys in their order. It costs a sort of the first halves: where these are equal, the second ones are sorted."""
    order = np.argsort(high, kind=kind)
    ordered = high[order]
    equal = ordered[1:] == ordered[:-1]
    if equal.any():
        tied = np.flatnonzero(np.append(equal, False) | np.append(False, equal))
        among = order[tied]
        order[tied] = among[np.lexsort((low[among], high[among]))]
    return order


def _cut(runs: Sequence[Run]) -> Iterator[list[tuple[Run, slice]]]:
    """Yield the parts of all runs that hold a range of keys, in order: at most SLICE_KEYS of a run, unless their first halves are equal."""
    bounds = np.unique(np.concatenate([run.high[SLICE_KEYS::SLICE_KEYS] for run in runs]))
    cuts = [[0, *np.searchsorted(run.high, bounds).tolist(), len(run)] for run in runs]
    for number in range(len(bounds) + 1):
        yield [(run, slice(cut[number], cut[number + 1])) for run, cut in zip(runs, cuts, strict=True)]


def _column(size: int, dtype: npt.DTypeLike) -> Column:
    """Return zeros, in pages of their own that go back to the system with the column, or before by `_give_up`, if it is long."""
    length = size * np.dtype(dtype).itemsize
    if length < PAGED_BYTES:
        return np.zeros(size, dtype=dtype)
    return np.frombuffer(mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), dtype=dtype)


def _kept(values: Column) -> Column:
    column = _column(len(values), values.dtype)
    column[:] = values
    return column


class IdIndex:
    """A growing set of (key, day); see the module."""

    __slots__ = ("_recent", "_runs", "_sieve")

    def __init__(self) -> None:
        self._recent: dict[bytes, int] = {}
        self._runs: list[Run] = []
        self._sieve = Sieve(RECENT_KEYS)

    def __len__(self) -> int:
        return len(self._recent) + sum(map(len, self._runs))

    def find(self, keys: Sequence[bytes], days: Days, within: int) -> Mask:
        """Return which of some keys are known with a day at most `within` days from theirs."""
        found = np.zeros(len(keys), dtype=np.bool_)
        if self._runs:
            found[self._settled(*halves(b"".join(keys)), days, within)] = True
        recent = self._recent
        if recent.keys().isdisjoint(keys):
            return found
        for place in [place for place, key in enumerate(keys) if key in recent]:
            found[place] |= abs(recent[keys[place]] - int(days[place])) <= within
        return found

    def add(self, keys: Sequence[bytes], days: Days) -> None:
        """Add keys that are not known within the window of their days."""
        if not self._recent.keys().isdisjoint(keys):  # on another day; a dict holds one day a key
            self._settle()
        self._recent.update(zip(keys, days.tolist(), strict=True))
        if len(self._recent) >= RECENT_KEYS:
            self._settle()

    def extend(self, keys: bytes, day: int) -> None:
        """Add many concatenated keys of one day; those that are there already are not added again."""
        if not keys:
            return
        self._settle()
        fresh = Run.of(keys, np.full(len(keys) // KEY_BYTES, day, dtype=np.uint16))
        known = np.zeros(len(fresh), dtype=np.bool_)
        known[self._settled(fresh.high, fresh.low, fresh.days(), within=0)] = True
        self._push(fresh.only(~known))

    def keys_of(self, day: int) -> bytes:
        """Return all keys of a day, concatenated, in no order."""
        recent = [key for key, its_day in self._recent.items() if its_day == day]
        parts = (run.only(run.days() == day) for run in self._runs)
        return b"".join([*(np.column_stack((part.high, part.low)).astype("<u8").tobytes() for part in parts), *recent])

    def forget(self, days: Collection[int]) -> None:
        """Remove all keys of some days."""
        gone = np.array(sorted(days), dtype=np.uint16)
        self._recent = {key: day for key, day in self._recent.items() if day not in days}
        for place, run in enumerate(self._runs):  # one at a time, to save memory
            self._runs[place] = run.only(~np.isin(run.days(), gone))
        self._runs = [run for run in self._runs if len(run)]
        self._sieve = self._new_sieve(len(self))

    def _settled(self, high: U64, low: U64, days: Days, within: int) -> Places:
        """Return the places of those of some keys that are in a run with a day at most `within` days from theirs."""
        found = []
        for part in _slices(len(high)):
            places = self._sieve.passes(high[part]) + part.start
            for run in self._runs:
                hits = run.find(high[places], low[places], days[places], within)
                if len(hits):
                    found.append(places[hits])
                    places = np.delete(places, hits)
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def _settle(self) -> None:
        """Move what is recent to a run."""
        if self._recent:
            days = np.fromiter(self._recent.values(), dtype=np.uint16, count=len(self._recent))
            self._push(Run.of(b"".join(self._recent), days))
            self._recent = {}

    def _push(self, run: Run) -> None:
        """Take in a run, merged with those that are not much larger."""
        if not len(run):
            return
        if len(self) + len(run) > self._sieve.room:
            self._sieve = self._new_sieve(len(self) + len(run))
        self._sieve.add(run.high)
        runs = self._runs
        size, kept = len(run), len(runs)
        while kept and len(runs[kept - 1]) < GROWTH * size:
            kept -= 1
            size += len(runs[kept])
        runs[kept:] = [Run.merge([*runs[kept:], run]) if kept < len(runs) else run]

    def _new_sieve(self, room: int) -> Sieve:
        """Return a sieve of all runs, with room for so many keys."""
        sieve = Sieve(room)
        for run in self._runs:
            sieve.add(run.high)
        return sieve
