"""Coders of the records that flow between steps: msgspec's MessagePack, registered for each when this module is imported."""

from typing import Any

import msgspec
import pyarrow as pa
from apache_beam import coders
from msgspec.structs import replace

from schemas.event import Batch
from schemas.message import FileRange, Messages
from schemas.outcomes import Report


class StructCoder(coders.Coder):
    """Encode one msgspec Struct type. Deterministic: fields go by position, and no record holds a set or a mapping."""

    def __init__(self, kind: type[msgspec.Struct]) -> None:
        self._kind = kind
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(kind)

    def encode(self, value: Any) -> bytes:
        """Return the record's bytes."""
        return self._encoder.encode(value)

    def decode(self, encoded: bytes) -> Any:
        """Return the record of some bytes."""
        return self._decoder.decode(encoded)

    def estimate_size(self, value: Any) -> int:  # noqa: ARG002
        """Return a guess: Beam asks while elements pass between fused steps, and encoding them just for that cost 3 us an event."""
        return 1_000_000

    def is_deterministic(self) -> bool:
        """Return True."""
        return True

    def to_type_hint(self) -> Any:
        """Return the type that is encoded."""
        return self._kind

    @classmethod
    def from_type_hint(cls, typehint: Any, registry: Any) -> "StructCoder":  # noqa: ARG003
        """Return the coder of a Struct type."""
        return cls(typehint)

    def __reduce__(self) -> tuple[type["StructCoder"], tuple[type[msgspec.Struct]]]:
        return type(self), (self._kind,)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._kind is other._kind

    def __hash__(self) -> int:
        return hash(self._kind)


class BatchCoder(StructCoder):
    """Encode a batch, compressed: to send a byte through a runner costs more than to make ten of it into one (docs/decisions.md).

    Person properties that its events share are there once, if they are much: apart they may be gigabytes.
    """

    def encode(self, value: Batch) -> bytes:
        """Return the batch's bytes."""
        plain = _encode(_parts_of(value))
        return b"%b%b" % (len(plain).to_bytes(_LENGTH_BYTES), _codec.compress(plain, asbytes=True))

    def decode(self, encoded: bytes) -> Batch:
        """Return the batch of some bytes."""
        size = int.from_bytes(encoded[:_LENGTH_BYTES])
        parts = _decode(_codec.decompress(memoryview(encoded)[_LENGTH_BYTES:], size, asbytes=True))
        if parts.shared:
            for event in parts.batch.events:
                event.person_properties = parts.shared[int.from_bytes(event.person_properties)]
        return parts.batch


class _Parts(msgspec.Struct, array_like=True):
    """A batch as it is encoded: `person_properties` of its events are places in `shared`, if there is anything."""

    batch: Batch
    shared: list[bytes] = []


def _parts_of(batch: Batch) -> _Parts:
    stamps = [event.person_properties for event in batch.events]
    if sum(map(len, stamps)) <= MAX_APART:
        return _Parts(batch)
    places = {stamp: place.to_bytes(_PLACE_BYTES) for place, stamp in enumerate(dict.fromkeys(stamps))}
    events = [replace(event, person_properties=places[stamp]) for event, stamp in zip(batch.events, stamps, strict=True)]
    return _Parts(replace(batch, events=events), list(places))


MAX_APART = 16 << 20  # bytes of person properties: less goes as it is
_LENGTH_BYTES, _PLACE_BYTES = 8, 4
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Parts).decode
_codec = pa.Codec("zstd", 1)

for _kind in (Messages, FileRange, Report):
    coders.registry.register_coder(_kind, StructCoder)
coders.registry.register_coder(Batch, BatchCoder)
