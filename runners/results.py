"""What a run did, from the tables it wrote."""

import resource
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from schemas.outcomes import Outcome
from schemas.reasons import Limit
from transforms.io.clickhouse import Client
from transforms.retentions import dropped_before


class Summary(msgspec.Struct, frozen=True):
    """What became of the events of one run, in events; `warnings` counts those that were warned about, the first batch of each hour's."""

    received: int
    stored: int
    duplicate: int
    limited: int
    rejected: int
    warnings: int
    seconds: float
    events_per_second: float
    cpu_us_per_event: float


def summarize(client: Client, run: UUID, seconds: float, cpu_seconds: float) -> Summary:
    """Return the sums over a run's acknowledged receipts."""
    receipts = f"(SELECT receipt FROM receipts FINAL WHERE run = '{run}' AND status = 'acknowledged')"
    outcomes = client.rows(f"SELECT toInt8(outcome), sum(count) FROM outcomes FINAL WHERE receipt IN {receipts} GROUP BY outcome")
    ((warnings,),) = client.rows(f"SELECT sum(count) FROM ingestion_warnings FINAL WHERE _receipt IN {receipts}")
    counts = dict(outcomes)
    received = counts.get(Outcome.RECEIVED, 0)
    return Summary(
        received=received,
        stored=counts.get(Outcome.STORED, 0),
        duplicate=counts.get(Outcome.DUPLICATE, 0),
        limited=counts.get(Outcome.LIMITED, 0),
        rejected=counts.get(Outcome.REJECTED, 0),
        warnings=warnings,
        seconds=round(seconds, 3),
        events_per_second=round(received / seconds, 1) if seconds else 0.0,
        cpu_us_per_event=round(cpu_seconds * 1e6 / received, 2) if received else 0.0,
    )


def reasons(client: Client, run: UUID) -> list[tuple[str, str, int]]:
    """Return (outcome, reason, events) of a run's limited and rejected events, most first."""
    receipts = f"(SELECT receipt FROM receipts FINAL WHERE run = '{run}' AND status = 'acknowledged')"
    rows = client.rows(
        f"SELECT toString(outcome) AS name, reason, sum(count) AS events FROM outcomes FINAL WHERE receipt IN {receipts}"
        " AND outcome IN ('limited', 'rejected') GROUP BY name, reason ORDER BY events DESC, reason"
    )
    return [(str(outcome), str(reason), int(events)) for outcome, reason, events in rows]


def cpu_seconds() -> float:
    """Return the CPU time that this process and its finished children have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def refused(client: Client, run: UUID) -> str:
    """Return a warning if a run's events arrived on days that are dropped, else nothing."""
    rows = [events for _, reason, events in reasons(client, run) if reason == Limit.DROPPED_DAY.value]
    if not rows:
        return ""
    before = datetime.fromtimestamp(dropped_before(client), UTC).date()
    return f"{sum(rows):,} events arrived before {before}, on days that `sluice retain` has dropped: they were refused (docs/retain.md)"
