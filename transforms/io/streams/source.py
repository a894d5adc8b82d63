"""`ReadStream`: a stream's splits in, `Messages` out, one a receipt; as one of Beam's `UnboundedSource`s."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import apache_beam as beam
import msgspec
from apache_beam.coders import Coder
from apache_beam.io.unbounded_source import CheckpointMark, ReadFromUnboundedSource, UnboundedReader, UnboundedSource
from apache_beam.utils.timestamp import Timestamp

from schemas.message import Messages
from transforms.coders import StructCoder
from transforms.io.streams.fetcher import Fetcher, Mark, now_micros

# An element is a batch: bundles are short, so that what was read is on its way at once. Runners make checkpoints between bundles.
RECORDS_PER_BUNDLE = 5
READ_SECONDS = 0.3
POLL_SECONDS = 0.1


class Split(Protocol):
    """One part of a stream, that one process reads. It is pickled, and compared by value."""

    def connect(self) -> Fetcher[Any]:
        """Return a new fetcher."""


@dataclass
class ReadStream(beam.PTransform):
    """A PTransform which reads a stream that never ends.

    `PBegin` -> `PCollection[Messages]`, one a receipt. Nothing is acknowledged when Beam finalizes a bundle: on some runners that is
    before the steps behind have run. A receipt is acknowledged when all that became of it is in the tables (docs/guarantees.md, G3).

    Args:
        splits: the parts that are read side by side.
    """

    splits: Sequence[Split]

    def __post_init__(self) -> None:
        super().__init__()
        if not self.splits:
            raise ValueError("splits is empty, but a stream has at least one")

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        """Wire the step."""
        return begin | "ReadSplits" >> ReadFromUnboundedSource(
            _StreamSource(list(self.splits)),
            poll_interval=POLL_SECONDS,
            max_records_per_bundle=RECORDS_PER_BUNDLE,
            max_read_time_seconds=READ_SECONDS,
        )


class _CheckpointMark(CheckpointMark):
    """A Mark, as Beam wants it. Finalizing does nothing."""

    def __init__(self, mark: Mark) -> None:
        self.mark = mark


class _MarkCoder(Coder):
    def encode(self, value: _CheckpointMark) -> bytes:
        return msgspec.msgpack.encode(value.mark)

    def decode(self, encoded: bytes) -> _CheckpointMark:
        return _CheckpointMark(msgspec.msgpack.decode(encoded, type=Mark))

    def is_deterministic(self) -> bool:
        return True


class _StreamSource(UnboundedSource):
    def __init__(self, splits: list[Split]) -> None:
        self._splits = splits

    def split(self, desired_num_splits: int, options: Any = None) -> list["_StreamSource"]:  # noqa: ARG002
        return [_StreamSource([split]) for split in self._splits]

    def create_reader(self, options: Any, checkpoint_mark: CheckpointMark | None) -> "_Reader":  # noqa: ARG002
        (split,) = self._splits
        mark = checkpoint_mark.mark if isinstance(checkpoint_mark, _CheckpointMark) else Mark()
        return _Reader(fetcher_of(split), mark)

    def get_checkpoint_mark_coder(self) -> Coder:
        return _MarkCoder()

    def default_output_coder(self) -> Coder:
        return StructCoder(Messages)


class _Reader(UnboundedReader):
    def __init__(self, fetcher: Fetcher[Any], mark: Mark) -> None:
        self._fetcher = fetcher
        self._mark = mark
        self._current: Messages | None = None

    def start(self) -> bool:
        return self.advance()

    def advance(self) -> bool:
        found = self._fetcher.poll(self._mark)
        if found is None:
            self._mark = self._fetcher.mark()
            return False
        self._current, self._mark = found
        return True

    def get_current(self) -> Messages:
        if self._current is None:
            raise RuntimeError("nothing was read yet")
        return self._current

    def get_current_timestamp(self) -> Timestamp:
        return Timestamp(micros=self.get_current().arrival)

    def get_watermark(self) -> Timestamp:
        """Return the time of reading: no step waits for event time."""
        return Timestamp(micros=now_micros() if self._current is None else self._current.arrival)

    def get_checkpoint_mark(self) -> _CheckpointMark:
        return _CheckpointMark(self._mark)


_lock = threading.Lock()
_fetchers: dict[Split, Fetcher[Any]] = {}


def fetcher_of(split: Split) -> Fetcher[Any]:
    """Return this process's fetcher of a split, connected when it is first asked for."""
    with _lock:
        if split not in _fetchers:
            _fetchers[split] = split.connect()
        return _fetchers[split]


def fetchers() -> list[Fetcher[Any]]:
    """Return all fetchers of this process. It does not wait for one that is being connected or closed."""
    return list(_fetchers.values())


def close_fetchers() -> None:
    """Acknowledge what is complete, give back the rest, and forget all fetchers."""
    with _lock:
        for fetcher in _fetchers.values():
            fetcher.close()
        _fetchers.clear()
