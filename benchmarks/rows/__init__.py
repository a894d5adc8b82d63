"""The rows of `make bench`: each module has `ready(load, folder)`, a context manager that yields a Job.

What a row needs is started and imported by `ready`; only `Job.run` is measured.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Unavailable(Exception):
    """A row cannot be run on this machine; the text says why."""


@dataclass(frozen=True)
class Load:
    """Generated JSON lines, and the registry of their teams."""

    files: list[str]
    teams: str


class Usage(NamedTuple):
    """What processes have taken until now: seconds of CPU, and the peak of their memory."""

    cpu: float
    peak_mib: float


@dataclass(frozen=True)
class Job:
    """One row, ready to run.

    Attributes:
        run: the work that is measured.
        stored: how many rows of `events` came of it.
        apart: what processes have taken that do the work in the place of this one. CPU time is added to that of this process and its
            children, memory is told instead of this process's.
    """

    run: Callable[[], object]
    stored: Callable[[], int]
    apart: Callable[[], Usage] | None = None


@dataclass(frozen=True)
class Row:
    """How a row is shown and run.

    Attributes:
        title: what the table calls it.
        module: of this package.
        share: it takes one event in so many. What it costs an event does not depend on how many there are.
        package: the peer that it measures, which only the environment of the extra `bench` has.
    """

    title: str
    module: str
    share: int = 1
    package: str = ""


ROWS = {
    "sluice": Row("Sluice: parse, limit, persons, deduplicate, store, account", "sluice"),
    "before": Row("Sluice of another commit", "sluice"),
    "clickhouse": Row("ClickHouse alone: INSERT FROM file(JSONEachRow)", "clickhouse"),
    "bytewax": Row("Bytewax: parse, stateful_batch, store", "bytewax", package="bytewax"),
    "grouped": Row("Beam, bounded: an event an element, GroupByKey, store", "grouped", share=5),
    "quixstreams": Row("Quix Streams, from Kafka: parse, State an id, store", "quixstreams", package="quixstreams"),
    "benthos": Row("Benthos and its ClickHouse: parse, dedupe, post, store", "benthos"),
    "tuned": Row("Beam, tuned: an event an element, DeduplicatePerKey", "tuned", share=50),
    "naive": Row("naive Beam: an event an element, DeduplicatePerKey", "naive", share=50),
    "direct": Row("naive Beam, on the runner that Beam chooses", "direct", share=50),
}
