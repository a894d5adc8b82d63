"""Coders of the records that flow between steps: msgspec's MessagePack, registered for each when this module is imported."""

from typing import Any

import msgspec
import pyarrow as pa
from apache_beam import coders

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


class PackedCoder(StructCoder):
    """Encode a large Struct, compressed: to send a byte through a runner costs more than to make ten of it into one (docs/decisions.md)."""

    def encode(self, value: Any) -> bytes:
        """Return the record's bytes."""
        plain = super().encode(value)
        return b"%b%b" % (len(plain).to_bytes(_LENGTH_BYTES), _codec.compress(plain, asbytes=True))

    def decode(self, encoded: bytes) -> Any:
        """Return the record of some bytes."""
        size = int.from_bytes(encoded[:_LENGTH_BYTES])
        return super().decode(_codec.decompress(memoryview(encoded)[_LENGTH_BYTES:], size, asbytes=True))


_LENGTH_BYTES = 4
_codec = pa.Codec("zstd", 1)

for _kind in (Messages, FileRange, Report):
    coders.registry.register_coder(_kind, StructCoder)
coders.registry.register_coder(Batch, PackedCoder)
