"""Keyed state by shard: a durable append-only log in the runner, and a working index of it in the worker's process.

A shard's durable form is a `BagState` of bytes chunks and a small head with a random **generation**, renewed with each write. Its
working form is an index that lives in the process (DoFn instances come and go) and is valid only while its generation
equals the head's. After a restart, a rebalance or a rollback of state they differ, and the index is rebuilt.
"""

import secrets
from collections.abc import Hashable, Iterable
from typing import Generic, Protocol, TypeVar

Index = TypeVar("Index")


class Log(Protocol):
    """What is used of Beam's `BagState` of bytes."""

    def read(self) -> Iterable[bytes]:
        """Return the chunks in the order in which they were added."""

    def add(self, chunk: bytes, /) -> None:
        """Append a chunk."""

    def clear(self) -> None:
        """Remove all chunks."""


class Head(Protocol):
    """What is used of Beam's `ReadModifyWriteState` of bytes."""

    def read(self) -> bytes | None:
        """Return what was written last, or None."""

    def write(self, value: bytes, /) -> None:
        """Replace the value."""


def new_generation() -> int:
    """Return a random 63-bit generation, never 0: that stands for a shard without state."""
    return secrets.randbits(63) or 1


class Indexes(Generic[Index]):
    """The working forms of a process's shards. Shards are few and fixed; what an index holds is for its owner to bound.

    Whoever changes an index takes it with `get`, and gives it back with `put` under the new generation. A change that fails halfway
    is thus never seen: the state still has the old generation, for which there is no index any more.
    """

    def __init__(self) -> None:
        self._entries: dict[Hashable, tuple[int, Index]] = {}

    def get(self, shard: Hashable, generation: int) -> Index | None:
        """Take out the index of a shard, and return it if it is of this generation."""
        found = self._entries.pop(shard, None)
        return found[1] if found is not None and found[0] == generation else None

    def put(self, shard: Hashable, generation: int, index: Index) -> None:
        """Keep an index as that of a generation."""
        self._entries[shard] = (generation, index)

    def values(self) -> list[Index]:
        """Return all indexes that nobody is changing just now."""
        # Copied in one go: other threads put and get meanwhile.
        return [index for _, index in list(self._entries.values())]
