"""The keyed state of the person steps: what is known of a shard, held in the process and rebuilt from the tables.

What a worker knows only decides how events are stamped and which facts are left out as old news; persons follow from the tables alone. So
the durable form is small: the facts of the last hour or two, which may not be in the tables yet.
"""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import msgspec
from apache_beam.coders import BytesCoder
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec

from schemas.persons import Fact
from transforms.persons.known import KnownPersons
from transforms.persons.stored import Stored
from transforms.state.shard_log import Head, Indexes, Log, new_generation

HEAD = ReadModifyWriteStateSpec("head", BytesCoder())
LOGS = (BagStateSpec("log_0", BytesCoder()), BagStateSpec("log_1", BytesCoder()))  # one is written for an hour, then the other
HOUR = 3_600_000_000  # microseconds

Known = TypeVar("Known", bound=KnownPersons)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Fact]).decode


class _Head(msgspec.Struct, array_like=True):
    generation: int = 0
    slot: int = 0  # the log that is written
    since: int = 0  # worker's clock when that began, microseconds since 1970


class PersonShards(Generic[Known]):
    """What a process knows of its shards.

    Args:
        new: makes what is known of nobody.
        load: reads a shard's facts from the tables; None if there are no tables.
        log: whether recent facts are also kept in the runner's state.
    """

    def __init__(self, new: Callable[[], Known], load: Callable[[int], Stored] | None, log: bool) -> None:
        self._indexes: Indexes[Known] = Indexes()
        self._new = new
        self._load = load
        self._log = log

    def take(self, shard: int, head: Head, logs: tuple[Log, ...]) -> Known:
        """Return what is known of a shard, rebuilt if the process does not know it as of this state. Give it back with `put`."""
        state = _read(head)
        known = self._indexes.get(shard, state.generation)
        if known is None:
            known = self._new()
            if self._load is not None:
                stored = self._load(shard)
                known.load(stored.seen_ids, stored.seen_orders)
                known.learn(stored.facts)
            if self._log:
                for log in logs:
                    for chunk in log.read():
                        known.learn(_decode(chunk))
        return known

    def put(self, shard: int, known: Known, changes: Iterable[Fact], now: int, head: Head, logs: tuple[Log, ...]) -> None:
        """Keep what is known of a shard, and what of it is new.

        Args:
            shard: the shard.
            known: as it was taken, and changed.
            changes: the facts that changed it.
            now: the worker's clock, microseconds since 1970.
            head, logs: the shard's state.
        """
        state = _read(head)
        if self._log and (chunk := list(changes)):
            if now - state.since > HOUR:
                state.slot, state.since = 1 - state.slot, now
                logs[state.slot].clear()
            logs[state.slot].add(_encode(chunk))
        state.generation = new_generation()
        head.write(_encode(state))
        self._indexes.put(shard, state.generation, known)


def _read(head: Head) -> _Head:
    return msgspec.msgpack.decode(head.read() or b"\x90", type=_Head)
