"""Every metric of a job: Beam counters in the namespace `sluice`, and the same sums in this process for the live view."""

from collections import Counter
from collections.abc import Iterable
from enum import Enum

from apache_beam.metrics import Metrics

from schemas.outcomes import Outcome, Report

NAMESPACE = "sluice"


class Metric(Enum):
    """Counters. Names are `<noun>_<past participle>`."""

    BYTES_READ = "bytes_read"  # of source files, as stored: counted when a range is read to its end
    MESSAGES_PARSED = "messages_parsed"
    EVENTS_RECEIVED = "events_received"  # taken out of messages, bad ones included
    EVENTS_STORED = "events_stored"
    EVENTS_DUPLICATED = "events_duplicated"  # dropped, since their uuid came before
    EVENTS_LIMITED = "events_limited"
    EVENTS_REJECTED = "events_rejected"  # became dead letters
    RECEIPTS_ACKNOWLEDGED = "receipts_acknowledged"


# What this process has counted. It may count a bundle twice that was run twice: the tables are what counts in the end.
progress: Counter[Metric] = Counter()

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
