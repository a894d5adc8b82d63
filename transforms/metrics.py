"""Every metric of a job: Beam counters in the namespace `sluice`, and the same sums in this process for the live view."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from time import perf_counter
from typing import NamedTuple

from apache_beam.metrics import Metrics

from schemas.outcomes import Outcome, Report
from transforms.activity import moves

NAMESPACE = "sluice"


class Metric(Enum):
    """Counters. Names are `<noun>_<past participle>`."""

    BYTES_READ = "bytes_read"  # of source files, as stored, counted when a range is read to its end; of streams, the messages' own
    MESSAGES_PARSED = "messages_parsed"
    MESSAGES_EXPIRED = "messages_expired"  # deleted by the broker before they were read: its retention is too short
    MESSAGES_EMPTY = "messages_empty"  # tombstones and the like: acknowledged, and nothing else
    MESSAGES_REREAD = "messages_reread"  # of a topic, read again since it was cut off, or the tables are older than the group's offsets
    POSITIONS_RESET = (
        "positions_reset"  # partitions that were begun elsewhere than the group had left them: see the log, and table `positions`
    )
    ARRIVALS_IGNORED = "arrivals_ignored"  # messages whose `now` is more than a week from the broker's time
    EVENTS_RECEIVED = "events_received"  # taken out of messages, bad ones included
    EVENTS_STORED = "events_stored"
    EVENTS_DUPLICATED = "events_duplicated"  # dropped, since their uuid came before
    EVENTS_LIMITED = "events_limited"
    EVENTS_REJECTED = "events_rejected"  # became dead letters
    RECEIPTS_ACKNOWLEDGED = "receipts_acknowledged"
    WARNINGS_SUPPRESSED = "warnings_suppressed"  # events like one whose team was warned within the hour
    BREAKERS_OPENED = "breakers_opened"  # too much was rejected by a fault of our own: the worker failed


# What this process has counted. It may count a bundle twice that was run twice: the tables are what counts in the end.
progress: Counter[Metric] = Counter()


class Lag(NamedTuple):
    """How far a stream is ahead of what is stored.

    Attributes:
        messages: that are not acknowledged; -1 if the broker does not say.
        seconds: since the oldest of them arrived.
        receipts: in flight.
    """

    messages: int
    seconds: float
    receipts: int


# Of each split that this process reads, by its name.
lags: dict[str, Lag] = {}

# Why this process cannot go on, by stream: for those who watch the job.
alarms: dict[str, str] = {}

# Wall seconds that this process has spent in the work of each step, by its name.
step_seconds: Counter[str] = Counter()


@contextmanager
def timed(step: str) -> Iterator[None]:
    """Add the time that the block takes to a step's."""
    began = perf_counter()
    try:
        yield
    finally:
        moves["worked"] += 1
        step_seconds[step] += perf_counter() - began  # type: ignore[assignment]  # a Counter of floats


_counters = {metric: Metrics.counter(NAMESPACE, metric.value) for metric in Metric}


def count(metric: Metric, amount: int) -> None:
    """Add to a metric."""
    if amount:
        progress[metric] += amount
        _counters[metric].inc(amount)


_OF_OUTCOME = {
    Outcome.RECEIVED: Metric.EVENTS_RECEIVED,
    Outcome.STORED: Metric.EVENTS_STORED,
    Outcome.DUPLICATE: Metric.EVENTS_DUPLICATED,
    Outcome.LIMITED: Metric.EVENTS_LIMITED,
    Outcome.REJECTED: Metric.EVENTS_REJECTED,
}


def count_outcomes(reports: Iterable[Report]) -> None:
    """Add what some reports say to the metrics of events."""
    totals: Counter[int] = Counter()
    for report in reports:
        for tally in report.tallies:
            totals[tally.outcome] += tally.count
    for outcome, amount in totals.items():
        count(_OF_OUTCOME[Outcome(outcome)], amount)
