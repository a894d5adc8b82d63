"""Registers, merged and read: what facts come to (docs/persons.md)."""

import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

import msgspec

from schemas.limits import MAX_PERSON_BYTES, TRIMMED_PERSON_BYTES
from schemas.persons import PROTECTED, Fact, Kind

Register = tuple[int, bytes, bytes]  # order, uuid, value: of two, the greater stands

_SET, _ONCE = int(Kind.SET), int(Kind.ONCE)
_NULL = b"null"
_encode_key = msgspec.json.Encoder().encode
SHORT = 100  # characters of names that are kept in mind


def register_of(fact: Fact) -> Register:
    """Return the content of a fact's register."""
    return fact.order, fact.uuid, fact.value


def standing(chosen: Register | None, once: Register | None) -> Register | None:
    """Return which of a property's registers `set` and `once` has its value, None if it has no value."""
    if chosen is None:
        return once
    if chosen[2] and chosen[2] != _NULL:
        return chosen
    if once is not None and -once[0] > chosen[0]:
        return once
    return chosen if chosen[2] else None


class Shown(NamedTuple):
    """Properties as they are shown.

    Attributes:
        json: a JSON object, its keys in sorted order.
        kinds: which register each member has its value from: SET or ONCE.
        size: how many bytes the object would have in full.
    """

    json: bytes
    kinds: dict[str, int]
    size: int

    @property
    def is_trimmed(self) -> bool:
        """Whether there are more than are shown."""
        return self.size > MAX_PERSON_BYTES


def _head(key: str) -> bytes:
    """Return what is before the value of a member."""
    return _known_head(key) if len(key) <= SHORT else _encode_key(key) + b":"


@lru_cache(maxsize=4096)  # most persons have the same names
def _known_head(key: str) -> bytes:
    return _encode_key(key) + b":"


def shown(sets: Mapping[str, Register], onces: Mapping[str, Register]) -> Shown:
    """Return properties as a JSON object, trimmed if it is over the limit: protected keys first, then the others as long as they fit.

    Args:
        sets, onces: registers by the property's name.
    """
    kinds: dict[str, int] = {}
    members: dict[str, bytes] = {}
    size = 2
    for key in sorted(sets.keys() | onces.keys()):  # by code point, which is the order of UTF-8's bytes too
        chosen, once = sets.get(key), onces.get(key)
        found = standing(chosen, once) if chosen is not None else once
        if found is not None:
            kinds[key] = _SET if found is chosen else _ONCE
            member = members[key] = _head(key) + found[2]
            size += len(member) + 1
    size -= bool(members)
    if size > MAX_PERSON_BYTES:
        members = _fitting(members, TRIMMED_PERSON_BYTES)
        kinds = {key: kinds[key] for key in members}
    return Shown(b"{%b}" % b",".join(members.values()), kinds, size)


def trimmed(json: bytes, limit: int) -> bytes:
    """Return of properties as they are shown what fits into so many bytes, protected keys first."""
    members = {key: _head(key) + bytes(value) for key, value in _decode_object(json).items()}
    return b"{%b}" % b",".join(_fitting(members, limit).values())


def _fitting(members: Mapping[str, bytes], limit: int) -> dict[str, bytes]:
    left = limit - 1
    kept = set()
    for key in sorted(members, key=lambda key: (key not in PROTECTED, key)):
        left -= len(members[key]) + 1
        if left < 0:
            break
        kept.add(key)
    return {key: member for key, member in members.items() if key in kept}


class _Origins(msgspec.Struct, array_like=True, gc=False):
    """Where the registers of a record come from. A register is told by the number of its origin, times two, plus its kind."""

    origins: list[tuple[int, bytes, bytes]]  # order time, uuid, source; what registers of one event share is there once
    shown: list[int]  # registers whose values the JSON has, in its order
    hidden: list[tuple[int, str, bytes]]  # the others, with key and value


_LENGTH = struct.Struct(">I")
LENGTH_BYTES = _LENGTH.size
_length = _LENGTH.unpack_from
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Origins).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Record:
    """The properties of one person, as registers.

    Besides its content a register has the distinct id that it came from (`source`, the first bytes of its own person id), so that a fact
    is known to be old news only if the same distinct id said so: the same facts may belong to two persons one day.

    Kept packed: the JSON that is shown, its length in front, and behind it all else, some 50 bytes.
    """

    __slots__ = ("_registers", "_sources", "is_changed")

    def __init__(self, packed: bytes = b"") -> None:
        self._registers: tuple[dict[str, Register], dict[str, Register]] = ({}, {})  # SET, ONCE
        self._sources: tuple[dict[str, bytes], dict[str, bytes]] = ({}, {})
        self.is_changed = False
        if packed:
            self._unpack(packed)

    def _unpack(self, packed: bytes) -> None:
        json = json_of(packed)
        found = _decode(memoryview(packed)[LENGTH_BYTES + len(json) :])
        members = _decode_object(json)
        entries = list(zip(found.shown, members, map(bytes, members.values()), strict=True))
        for number, key, value in entries + found.hidden if found.hidden else entries:
            time, uuid, source = found.origins[number >> 1]
            kind = number & 1
            self._registers[kind][key] = (-time if kind else time, uuid, value)
            self._sources[kind][key] = source

    def __iter__(self) -> Iterator[tuple[int, str, Register]]:
        """Yield kind, key and content of each register."""
        for kind, registers in enumerate(self._registers):
            for key, register in registers.items():
                yield kind, key, register

    def add(self, fact: Fact, source: bytes) -> bool:
        """Merge a fact; return whether it may be news to the tables."""
        kind, key, register = fact.kind, fact.key, (fact.order, fact.uuid, fact.value)
        known = self._registers[kind].get(key)
        if known is None or register > known:
            self._registers[kind][key] = register
            self._sources[kind][key] = source
            self.is_changed = True
            return True
        return self._sources[kind][key] != source

    def shown(self) -> Shown:
        """Return the properties as they are shown. Those that are too many to show are forgotten."""
        found = shown(*self._registers)
        if found.is_trimmed:
            for columns in (self._registers, self._sources):
                for column in columns:
                    for key in column.keys() - found.kinds.keys():
                        del column[key]
        return found

    def packed(self, found: Shown) -> bytes:
        """Return the record as bytes.

        Args:
            found: what is `shown` of its registers.
        """
        numbers: dict[tuple[int, bytes, bytes], int] = {}
        members: dict[str, int] = {}
        hidden: list[tuple[int, str, bytes]] = []
        for kind, registers in enumerate(self._registers):
            sources = self._sources[kind]
            for key, (order, uuid, value) in registers.items():
                number = numbers.setdefault((-order if kind else order, uuid, sources[key]), len(numbers)) << 1 | kind
                if found.kinds.get(key) == kind:
                    members[key] = number
                else:
                    hidden.append((number, key, value))
        rest = _encode(_Origins(list(numbers), [members[key] for key in found.kinds], hidden))
        return b"%b%b%b" % (_LENGTH.pack(len(found.json)), found.json, rest)


def json_of(packed: bytes) -> bytes:
    """Return the JSON that is shown of a packed record."""
    return packed[LENGTH_BYTES : LENGTH_BYTES + _length(packed)[0]]
