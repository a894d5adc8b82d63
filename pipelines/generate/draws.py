"""Random numbers by name and index, and the text of ids and times made of them.

Event 7 of a load is the same whichever block, process or duplicate asks for it: there is no generator to advance. Only integer
operations and single IEEE divisions are used, so that one seed gives the same bytes on every machine.
"""

from hashlib import sha1

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Chars = npt.NDArray[np.uint8]

DAY_MICROS = 86_400_000_000
HOUR_MICROS = 3_600_000_000

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_PAIRS = np.array([[48 + n // 10, 48 + n % 10] for n in range(100)], np.uint8)


class Draws:
    """Give random numbers for (seed, name, index).

    Args:
        seed: numbers of different seeds are independent.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._keys: dict[str, np.uint64] = {}

    def bits(self, name: str, index: Ints | Bits) -> Bits:
        """Return 64 random bits an index: SplitMix64 (Steele, Lea, Flood 2014) at a random place of its sequence."""
        x = index.astype(np.uint64) * _GOLDEN + self._key(name)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))

    def share(self, name: str, index: Ints | Bits) -> Floats:
        """Return a number in [0, 1) an index."""
        return (self.bits(name, index) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def below(self, name: str, index: Ints | Bits, limit: int | Ints) -> Ints:
        """Return an integer in [0, limit) an index; limits are at most 2**32."""
        high = self.bits(name, index) >> np.uint64(32)
        return ((high * np.asarray(limit, np.uint64)) >> np.uint64(32)).astype(np.int64)

    def log_below(self, name: str, index: Ints | Bits, limit: Ints) -> Ints:
        """Return an integer in [0, limit) an index, small ones more often: each doubling is about as likely as the next."""
        widths = np.searchsorted(_POWERS, limit, side="right")
        width = self.below(name + " width", index, widths)
        value: Ints = (np.int64(1) << width) - 1 + self.below(name, index, np.int64(1) << width)
        return np.minimum(value, limit - 1)

    def _key(self, name: str) -> np.uint64:
        if name not in self._keys:
            self._keys[name] = np.uint64(int.from_bytes(sha1(f"{self._seed}:{name}".encode()).digest()[:8], "big"))
        return self._keys[name]


_POWERS = np.int64(1) << np.arange(32, dtype=np.int64)


def uuid_v7(millis: Ints, high: Bits, low: Bits) -> Chars:
    """Return the characters of UUIDs of version 7, shape (n, 36).

    Args:
        millis: since 1970.
        high, low: random bits.
    """
    first = (millis.astype(np.uint64) << np.uint64(16)) | np.uint64(0x7000) | (high & np.uint64(0x0FFF))
    return _uuid_chars(first, low)


def uuid_v4(high: Bits, low: Bits) -> Chars:
    """Return the characters of UUIDs of version 4, shape (n, 36)."""
    return _uuid_chars((high & ~np.uint64(0xF000)) | np.uint64(0x4000), low)


def _uuid_chars(first: Bits, low: Bits) -> Chars:
    second = (low & np.uint64(0x3FFFFFFFFFFFFFFF)) | np.uint64(0x8000000000000000)
    digits = hex_chars(np.stack([first, second], axis=1))
    chars = np.full((len(first), 36), ord("-"), np.uint8)
    for start, end, shift in ((0, 8, 0), (8, 12, 1), (12, 16, 2), (16, 20, 3), (20, 32, 4)):
        chars[:, start + shift : end + shift] = digits[:, start:end]
    return chars


def hex_chars(words: Bits) -> Chars:
    """Return the hexadecimal digits of each row of words, 16 a word."""
    raw = np.ascontiguousarray(words).astype(">u8").view(np.uint8).reshape(len(words), -1)
    digits = np.empty((len(words), raw.shape[1] * 2), np.uint8)
    digits[:, 0::2] = _HEX[raw >> 4]
    digits[:, 1::2] = _HEX[raw & 15]
    return digits


def time_chars(micros: Ints) -> Chars:
    """Return `2026-11-01T12:34:56.789` for microseconds since 1970, shape (n, 23)."""
    days, rest = np.divmod(micros // 1000, 86_400_000)
    dates, place = np.unique(days, return_inverse=True)
    chars = np.empty((len(micros), 23), np.uint8)
    text = np.array([str(np.datetime64(int(day), "D")).encode() for day in dates], "S10")
    chars[:, :10] = text.view(np.uint8).reshape(-1, 10)[place]
    chars[:, 10:] = np.frombuffer(b"T00:00:00.000", np.uint8)
    seconds, millis = np.divmod(rest, 1000)
    chars[:, 11:13] = _PAIRS[seconds // 3600]
    chars[:, 14:16] = _PAIRS[seconds // 60 % 60]
    chars[:, 17:19] = _PAIRS[seconds % 60]
    chars[:, 20] += (millis // 100).astype(np.uint8)
    chars[:, 21:23] = _PAIRS[millis % 100]
    return chars


def texts(chars: Chars, before: bytes = b"", after: bytes = b"") -> list[bytes]:
    """Return the rows of characters as bytes, each between `before` and `after`."""
    rows, width = chars.shape
    padded = np.empty((rows, len(before) + width + len(after)), np.uint8)
    padded[:, : len(before)] = np.frombuffer(before, np.uint8)
    padded[:, len(before) : len(before) + width] = chars
    padded[:, len(before) + width :] = np.frombuffer(after, np.uint8)
    found: list[bytes] = padded.view(f"S{padded.shape[1]}").ravel().tolist()
    return found
