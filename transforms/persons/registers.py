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


def value_of(chosen: Register | None, once: Register | None) -> bytes | None:
    """Return a property's JSON from its registers `set` and `once`, None if it has no value."""
    if chosen is None:
        return once[2] if once is not None else None
    if chosen[2] and chosen[2] != _NULL:
        return chosen[2]
    if once is not None and -once[0] > chosen[0]:
        return once[2]
    return chosen[2] or None


def properties_of(registers: Mapping[Key, Register]) -> dict[str, bytes]:
    """Return the JSON of each property that has a value, in the order of keys by bytes."""
    found: dict[str, bytes] = {}
    for key in sorted({key for _, key in registers}, key=str.encode):
        value = value_of(registers.get((Kind.SET, key)), registers.get((Kind.ONCE, key)))
        if value is not None:
            found[key] = value
    return found


class Shown(NamedTuple):
    """Properties as they are shown: a JSON object, its keys, and the bytes that it would have in full."""

    json: bytes
    keys: frozenset[str]
    size: int

    @property
    def is_trimmed(self) -> bool:
        """Whether there are more than are shown."""
        return self.size > MAX_PERSON_BYTES


def shown(registers: Mapping[Key, Register]) -> Shown:
    """Return properties as a JSON object, trimmed if it is over the limit: protected keys first, then the others as long as they fit."""
    members = {key: _encode_key(key) + b":" + value for key, value in properties_of(registers).items()}
    size = _size(members.values())
    if size > MAX_PERSON_BYTES:
        members = _trimmed(members)
    return Shown(b"{" + b",".join(members.values()) + b"}", frozenset(members), size)


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


class _Group(msgspec.Struct, array_like=True, gc=False):
    """Registers of one event: what they share is there once."""

    order: int  # order time
    uuid: bytes
    source: bytes  # first bytes of the person id of the distinct id that they are about
    kinds: bytes
    keys: list[str]
    values: list[bytes]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Group]).decode


class Record:
    """The properties of one person, as registers. Kept packed: about 30 bytes, and those of each key and value.

    Besides its content a register has the distinct id that it came from (`source`), so that a fact is known to be old news only
    if the same distinct id said so: the same facts may belong to two persons one day.
    """

    def __init__(self, packed: bytes = b"") -> None:
        self.registers: dict[Key, Register] = {}
        self.sources: dict[Key, bytes] = {}
        for group in _decode(packed) if packed else ():
            for kind, key, value in zip(group.kinds, group.keys, group.values, strict=True):
                self.registers[kind, key] = (group.order if kind == Kind.SET else -group.order, group.uuid, value)
                self.sources[kind, key] = group.source

    def add(self, fact: Fact, source: bytes) -> bool:
        """Merge a fact; return whether it may be news to the tables."""
        key, register = (fact.kind, fact.key), register_of(fact)
        known = self.registers.get(key)
        if known is None or register > known:
            self.registers[key], self.sources[key] = register, source
            return True
        return self.sources[key] != source

    def keep(self, keys: frozenset[str]) -> None:
        """Forget all other properties: those that are too many to show."""
        for key in [key for key in self.registers if key[1] not in keys]:
            del self.registers[key], self.sources[key]

    def packed(self) -> bytes:
        """Return the record as bytes."""
        groups: dict[tuple[int, bytes, bytes], _Group] = {}
        for (kind, key), (order, uuid, value) in self.registers.items():
            time, source = order if kind == Kind.SET else -order, self.sources[kind, key]
            group = groups.get((time, uuid, source))
            if group is None:
                group = groups[time, uuid, source] = _Group(time, uuid, source, b"", [], [])
            group.kinds += bytes([kind])
            group.keys.append(key)
            group.values.append(value)
        return _encode(list(groups.values()))
