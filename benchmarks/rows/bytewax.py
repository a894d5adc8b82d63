"""Bytewax: its FileSource, lines parsed by the batch, ids kept by `stateful_batch`, rows collected by a sink.

The state is a set of ids for each of 16 shards. A state for each id, by `stateful_flat_map`, took half as much again. There is no recovery
store: what was seen is lost with the process, and files are read from their beginning.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import bytewax.operators as op
from bytewax.connectors.files import FileSource
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

from benchmarks.rows import Job, Load
from benchmarks.rows.clickhouse import stored, warm_up
from benchmarks.rows.common import AT_ONCE, EventRow, insert, parse

Identified = tuple[str, EventRow]


def _parse(lines: list[str]) -> list[tuple[str, Identified]]:
    """Return rows with their ids by shard: the last hexadecimal digit of the id."""
    return [(row[0][-1], row) for row in map(parse, lines)]


class _DropSeen(StatefulBatchLogic):
    def __init__(self, seen: set[str] | None) -> None:
        self._seen = seen or set()

    def on_batch(self, values: list[Identified]) -> tuple[list[EventRow], bool]:
        fresh = []
        for key, row in values:
            if key not in self._seen:
                self._seen.add(key)
                fresh.append(row)
        return fresh, StatefulBatchLogic.RETAIN

    def snapshot(self) -> set[str]:
        return set(self._seen)


class _Partition(StatelessSinkPartition):
    def __init__(self, sink: str) -> None:
        self._sink = sink
        self._rows: list[EventRow] = []

    def write_batch(self, items: list[tuple[str, EventRow]]) -> None:
        self._rows += [row for _, row in items]
        if len(self._rows) >= AT_ONCE:
            self.close()

    def close(self) -> None:
        if self._rows:
            insert(self._sink, self._rows)
        self._rows = []


class _Insert(DynamicSink):
    def __init__(self, sink: str) -> None:
        self._sink = sink

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Partition:  # noqa: ARG002
        return _Partition(self._sink)


def _flow(files: list[str], sink: str) -> Dataflow:
    flow = Dataflow("bench")
    inputs = [op.input(f"read{number}", flow, FileSource(file, batch_size=1000)) for number, file in enumerate(files)]
    rows = op.flat_map_batch("parse", op.merge("merge", *inputs), _parse)
    op.output("insert", op.stateful_batch("dedupe", rows, _DropSeen), _Insert(sink))
    return flow


@contextmanager
def ready(load: Load, folder: str) -> Iterator[Job]:
    """Yield the job."""
    sink = warm_up(folder)
    flow = _flow(load.files, sink)
    yield Job(lambda: run_main(flow), lambda: stored(sink))
