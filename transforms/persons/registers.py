"""Registers, merged and read: what facts come to (docs/persons.md)."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from schemas.limits import MAX_PERSON_BYTES, TRIMMED_PERSON_BYTES
from schemas.persons import PROTECTED, Fact, Kind

Register = tuple[int, bytes, bytes]  # order, uuid, value: of two, the greater stands
Key = tuple[int, str]  # kind, key

_NULL = b"null"
_encode_key = msgspec.json.Encoder().encode


def register_of(fact: Fact) -> Register:
    """Return the content of a fact's register."""
    return fact.order, fact.uuid, fact.value


def standing(chosen: Register | None, once: Register | None) -> Kind | None:
    """Return which of a property's registers `set` and `once` has its value, None if it has no value."""
    if chosen is None:
        return Kind.ONCE if once is not None else None
    if chosen[2] and chosen[2] != _NULL:
        return Kind.SET
    if once is not None and -once[0] > chosen[0]:
        return Kind.ONCE
    return Kind.SET if chosen[2] else None


def properties_of(registers: Mapping[Key, Register]) -> dict[str, Kind]:
    """Return which register of each property has its value, in the order of keys by bytes. Properties without a value are left out."""
    found: dict[str, Kind] = {}
    for key in sorted({key for _, key in registers}, key=str.encode):
        kind = standing(registers.get((Kind.SET, key)), registers.get((Kind.ONCE, key)))
        if kind is not None:
            found[key] = kind
    return found


class Shown(NamedTuple):
    """Properties as they are shown: a JSON object, the register of each member in its order, and the bytes that it would have in full."""

    json: bytes
    keys: list[Key]
    size: int

    @property
    def is_trimmed(self) -> bool:
        """Whether there are more than are shown."""
        return self.size > MAX_PERSON_BYTES


def shown(registers: Mapping[Key, Register]) -> Shown:
    """Return properties as a JSON object, trimmed if it is over the limit: protected keys first, then the others as long as they fit."""
    kinds = properties_of(registers)
    members = {key: _encode_key(key) + b":" + registers[kind, key][2] for key, kind in kinds.items()}
    size = _size(members.values())
    if size > MAX_PERSON_BYTES:
        members = _trimmed(members)
    return Shown(b"{" + b",".join(members.values()) + b"}", [(kinds[key], key) for key in members], size)


def _size(members: Iterable[bytes]) -> int:
    sizes = [len(member) for member in members]
    return sum(sizes) + max(len(sizes), 1) + 1


def _trimmed(members: Mapping[str, bytes]) -> dict[str, bytes]:
    left = TRIMMED_PERSON_BYTES - 1
    kept = set()
    for key in sorted(members, key=lambda key: (key not in PROTECTED, key.encode())):
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


LENGTH_BYTES = 4
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Origins).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Record:
    """The properties of one person, as registers.

    Besides its content a register has the distinct id that it came from (`source`, the first bytes of its own person id), so that a fact
    is known to be old news only if the same distinct id said so: the same facts may belong to two persons one day.

    Kept packed: the JSON that is shown, its length in front, and behind it all else, some 50 bytes.
    """

    def __init__(self, packed: bytes = b"") -> None:
        self.registers: dict[Key, Register] = {}
        self.sources: dict[Key, bytes] = {}
        if packed:
            self._unpack(packed)

    def _unpack(self, packed: bytes) -> None:
        json = json_of(packed)
        found = _decode(memoryview(packed)[LENGTH_BYTES + len(json) :])
        entries = [(number, key, bytes(value)) for number, (key, value) in zip(found.shown, _decode_object(json).items(), strict=True)]
        for number, key, value in entries + found.hidden:
            time, uuid, self.sources[number & 1, key] = found.origins[number >> 1]
            self.registers[number & 1, key] = (-time if number & 1 else time, uuid, value)

    def add(self, fact: Fact, source: bytes) -> bool:
        """Merge a fact; return whether it may be news to the tables."""
        key, register = (fact.kind, fact.key), register_of(fact)
        known = self.registers.get(key)
        if known is None or register > known:
            self.registers[key], self.sources[key] = register, source
            return True
        return self.sources[key] != source

    def keep(self, keys: Iterable[Key]) -> None:
        """Forget all other registers: those of properties that are too many to show."""
        kept = {key for _, key in keys}
        for key in [key for key in self.registers if key[1] not in kept]:
            del self.registers[key], self.sources[key]

    def packed(self, found: Shown) -> bytes:
        """Return the record as bytes.

        Args:
            found: what is `shown` of its registers.
        """
        numbers: dict[tuple[int, bytes, bytes], int] = {}

        def number(key: Key) -> int:
            order, uuid, _ = self.registers[key]
            origin = (-order if key[0] else order, uuid, self.sources[key])
            return numbers.setdefault(origin, len(numbers)) << 1 | key[0]

        shown_keys = set(found.keys)
        shown_numbers = [number(key) for key in found.keys]
        hidden = [(number(key), key[1], self.registers[key][2]) for key in self.registers.keys() - shown_keys]
        rest = _encode(_Origins(list(numbers), shown_numbers, hidden))
        return len(found.json).to_bytes(LENGTH_BYTES) + found.json + rest


def json_of(packed: bytes) -> bytes:
    """Return the JSON that is shown of a packed record."""
    return packed[LENGTH_BYTES : LENGTH_BYTES + int.from_bytes(packed[:LENGTH_BYTES])]
