"""A hash table of 128-bit keys in numpy: a whole batch is looked up at once, and a key costs about 30 bytes."""

import secrets
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Words = NDArray[np.uint64]
Item = TypeVar("Item", bound=np.generic)

KEY_BYTES = 16
_SMALLEST = 1024  # slots


class KeyTable:
    """Number keys from 0 in the order in which they come. Columns beside it go by that number.

    The slot of a key follows from its second half and a number that nobody else knows: others can make up names whose keys end alike, and
    keys of one slot would be looked through one by one. (A random odd factor, and the first bits of the product: two keys share a slot
    no more often than by chance, twice at most, whatever they are; Dietzfelbinger et al., 1997.)
    """

    def __init__(self) -> None:
        self._factor = np.uint64(secrets.randbits(64) | 1)
        self._slots = np.zeros(_SMALLEST, np.uint32)  # row + 1, or 0
        self._words = np.empty((_SMALLEST // 2, 2), np.uint64)
        self.count = 0

    @property
    def capacity(self) -> int:
        """How many rows there is room for: the length of a column."""
        return len(self._words)

    def find(self, keys: bytes) -> Rows:
        """Return the row of each of some keys, -1 for those that are not there."""
        return self._find(_words(keys))

    def add(self, keys: bytes) -> Rows:
        """Return the row of each of some keys; those that are not there get one. A key may come several times."""
        words = _words(keys)
        rows = self._find(words)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            fresh, places = np.unique(words[missing], axis=0, return_inverse=True)
            rows[missing] = self._append(fresh)[places.reshape(-1)]
        return rows

    def keys_at(self, rows: Rows) -> bytes:
        """Return the keys of some rows."""
        return self._words[rows].astype(">u8").tobytes()

    def _find(self, words: Words) -> Rows:
        rows = np.full(len(words), -1, np.int64)
        todo = np.arange(len(words))
        slots = self._slots_of(words)
        while len(todo):
            held = self._slots[slots[todo]].astype(np.int64) - 1
            same = (held >= 0) & (self._words[held] == words[todo]).all(axis=1)
            rows[todo[same]] = held[same]
            todo = todo[(held >= 0) & ~same]
            slots[todo] = (slots[todo] + 1) & (len(self._slots) - 1)
        return rows

    def _append(self, words: Words) -> Rows:
        """Add keys that differ from each other and from all that are there."""
        rows = np.arange(self.count, self.count + len(words))
        self.count += len(words)
        if self.count > len(self._words):
            self._words = grown(self._words, self.count, 0)
        self._words[rows] = words
        if self.count * 2 > len(self._slots):
            size = 1 << (self.count * 2 - 1).bit_length()
            self._slots = np.zeros(size, np.uint32)
            self._occupy(np.arange(self.count), self._words[: self.count])
        else:
            self._occupy(rows, words)
        return rows

    def _occupy(self, rows: Rows, words: Words) -> None:
        slots = self._slots_of(words)
        while len(rows):
            free = self._slots[slots] == 0
            self._slots[slots[free]] = rows[free] + 1  # of several that want one slot the last stays
            left = self._slots[slots] != rows + 1
            rows, slots = rows[left], (slots[left] + 1) & (len(self._slots) - 1)

    def _slots_of(self, words: Words) -> Rows:
        bits = len(self._slots).bit_length() - 1
        return (words[:, 1] * self._factor >> np.uint64(64 - bits)).astype(np.int64)


def grown(column: NDArray[Item], count: int, empty: int) -> NDArray[Item]:
    """Return a column with room for `count` rows and half as many again, the new ones `empty`."""
    if count <= len(column):
        return column
    larger = np.full((count + count // 2, *column.shape[1:]), empty, column.dtype)
    larger[: len(column)] = column
    return larger


def _words(keys: bytes) -> Words:
    return np.frombuffer(keys, ">u8").astype(np.uint64).reshape(-1, 2)
