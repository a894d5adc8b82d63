"""An exact index of 16-byte keys and their days, at about 20 bytes a key: sorted runs in numpy, merged like an LSM tree."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

KEY_BYTES = 16
# A dict costs about 120 bytes a key, a run one search a batch: this keeps both small.
RECENT_KEYS = 8192
# A run is merged into the one before it unless that is at least so many times larger: few runs to search, few times merged.
GROWTH = 4
# Larger runs have a grid: where the keys of each value of the first bits start, for about so many keys a cell.
PLAIN_KEYS = 50_000
CELL_KEYS = 16

U64 = npt.NDArray[np.uint64]
Days = npt.NDArray[np.uint16]  # since 1970
Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Run:
    """Keys, sorted, as two columns of 64 bits, and their days.

    Keys are hashes: equal first halves are next to impossible unless it is one key on two days. Both are found.
    """

    __slots__ = ("_grid", "_shift", "_steps", "days", "high", "low")

    def __init__(self, high: U64, low: U64, days: Days) -> None:
        self.high = high
        self.low = low
        self.days = days
        self._grid: npt.NDArray[np.uint32] | None = None
        if len(high) > PLAIN_KEYS:
            bits = (len(high) // CELL_KEYS).bit_length()
            self._shift = np.uint64(64 - bits)
            starts = np.searchsorted(high, np.arange(1 << bits, dtype=np.uint64) << self._shift)
            self._grid = np.append(starts, len(high)).astype(np.uint32)
            self._steps = int(np.diff(self._grid).max()).bit_length()

    @classmethod
    def of(cls, keys: bytes, days: Days) -> "Run":
        """Return the sorted run of some concatenated keys."""
        high, low = halves(keys)
        order = np.argsort(high)
        return cls(high[order], low[order], days[order])

    def absorb(self, other: "Run") -> "Run":
        """Return one run of both, which are of no use afterwards: each column is given up as soon as it is copied, to save memory."""
        places = np.searchsorted(self.high, other.high) + np.arange(len(other))
        from_other = np.zeros(len(self) + len(other), dtype=np.bool_)
        from_other[places] = True
        columns: dict[str, Any] = {}
        for name in ("high", "low", "days"):
            columns[name] = _interleave(getattr(self, name), getattr(other, name), from_other)
            delattr(self, name)
        return Run(**columns)

    def only(self, mask: Mask) -> "Run":
        """Return the run of the keys that a mask selects."""
        return Run(self.high[mask], self.low[mask], self.days[mask])

    def __len__(self) -> int:
        return len(self.high)

    def _search(self, high: U64) -> Places:
        """Return where each key would be inserted.

        Keys are spread evenly, so the first bits of a key give a place that is off by a few: searching on from there is 4 times faster
        than numpy's `searchsorted` in 16 million keys, which misses the cache at each step (`benchmarks/dedupe.py`).
        """
        if self._grid is None:
            return np.searchsorted(self.high, high)
        cell = (high >> self._shift).astype(np.int64)
        low, end = self._grid[cell].astype(np.int64), self._grid[cell + 1].astype(np.int64)
        last = len(self) - 1
        for _ in range(self._steps):
            middle = (low + end) >> 1
            before = (self.high[np.minimum(middle, last)] < high) & (low < end)
            low = np.where(before, middle + 1, low)
            end = np.where(before, end, middle)
        return low

    def find(self, high: U64, low: U64, days: Days, within: int) -> Mask:
        """Return which of some keys, sorted by `high`, are in the run with a day at most `within` days from theirs."""
        at = np.minimum(self._search(high), len(self) - 1)
        same = self.high[at] == high
        found: Mask = same & (self.low[at] == low) & (_distance(self.days[at], days) <= within)
        for query in np.flatnonzero(same & ~found):
            part = slice(at[query], np.searchsorted(self.high, high[query], side="right"))
            near = _distance(self.days[part], days[query : query + 1]) <= within
            found[query] = bool(((self.low[part] == low[query]) & near).any())
        return found


def halves(keys: bytes) -> tuple[U64, U64]:
    """Return the two 64-bit halves of each of some concatenated keys."""
    pairs = np.frombuffer(keys, dtype="<u8").reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _distance(a: Days, b: Days) -> npt.NDArray[np.int32]:
    distance: npt.NDArray[np.int32] = np.abs(a.astype(np.int32) - b.astype(np.int32))
    return distance


def _interleave(mine: npt.NDArray[np.generic], other: npt.NDArray[np.generic], from_other: Mask) -> npt.NDArray[np.generic]:
    merged = np.empty(len(from_other), dtype=mine.dtype)
    merged[from_other] = other
    merged[~from_other] = mine
    return merged


class IdIndex:
    """A growing set of (key, day); see the module."""

    __slots__ = ("_recent", "_runs")

    def __init__(self) -> None:
        self._recent: dict[bytes, int] = {}
        self._runs: list[Run] = []

    def __len__(self) -> int:
        return len(self._recent) + sum(map(len, self._runs))

    def find(self, keys: Sequence[bytes], days: Days, within: int) -> Mask:
        """Return which of some keys are known with a day at most `within` days from theirs."""
        found = np.zeros(len(keys), dtype=np.bool_)
        if self._runs:
            high, low = halves(b"".join(keys))
            order = np.argsort(high)  # neighbours in a run share cache lines
            high, low, sorted_days = high[order], low[order], days[order]
            for run in self._runs:
                found[order] |= run.find(high, low, sorted_days, within)
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
        for run in self._runs:
            fresh = fresh.only(~run.find(fresh.high, fresh.low, fresh.days, within=0))
        self._push(fresh)

    def keys_of(self, day: int) -> bytes:
        """Return all keys of a day, concatenated, in no order."""
        recent = [key for key, its_day in self._recent.items() if its_day == day]
        parts = (run.only(run.days == day) for run in self._runs)
        return b"".join([*(np.column_stack((part.high, part.low)).astype("<u8").tobytes() for part in parts), *recent])

    def forget(self, days: Collection[int]) -> None:
        """Remove all keys of some days."""
        gone = np.array(sorted(days), dtype=np.uint16)
        self._recent = {key: day for key, day in self._recent.items() if day not in days}
        kept = [run.only(~np.isin(run.days, gone)) for run in self._runs]
        self._runs = [run for run in kept if len(run)]

    def _settle(self) -> None:
        """Move what is recent to a run."""
        if self._recent:
            days = np.fromiter(self._recent.values(), dtype=np.uint16, count=len(self._recent))
            self._push(Run.of(b"".join(self._recent), days))
            self._recent = {}

    def _push(self, run: Run) -> None:
        if not len(run):
            return
        runs = self._runs
        while runs and len(runs[-1]) < GROWTH * len(run):
            run = runs.pop().absorb(run)
        runs.append(run)
