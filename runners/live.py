"""How a stream is, on a terminal: a view that moves; elsewhere: a line a minute."""

import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, time
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from runners.status import Status
from transforms.metrics import Metric

REFRESH_SECONDS = 1.0
LINE_SECONDS = 60.0
WINDOW = 10  # samples that a rate is the mean of
OLD_SECONDS = 10.0  # a lag that was measured longer ago is shown with its age


class Watched(Protocol):
    """What is shown; see runners/supervisor.py."""

    status: Status
    restarts: int
    waiting: float

    def totals(self) -> dict[str, int]:
        """Return all counters."""

    @property
    def reason(self) -> str:
        """Why no events are brought to their end now; nothing while they are."""


class Rates:
    """Events a second, over the last samples."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int, int]] = deque(maxlen=WINDOW + 1)

    def add(self, now: float, received: int, done: int) -> tuple[float, float]:
        """Take in a sample; return events received and done a second."""
        self._samples.append((now, received, done))
        began, first_received, first_done = self._samples[0]
        seconds = now - began
        return ((received - first_received) / seconds, (done - first_done) / seconds) if seconds else (0.0, 0.0)


@contextmanager
def show(watched: Watched, console: Console) -> Iterator[None]:
    """Show a job while the block runs."""
    stop = threading.Event()
    work = _show_live if console.is_terminal else _write_lines
    thread = threading.Thread(target=work, args=(watched, console, stop), name="view", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _show_live(watched: Watched, console: Console, stop: threading.Event) -> None:
    rates = Rates()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while not stop.wait(REFRESH_SECONDS):
            live.update(_table(watched, *_sample(watched, rates)), refresh=True)


def _write_lines(watched: Watched, console: Console, stop: threading.Event) -> None:  # noqa: ARG001
    rates, wrote = Rates(), monotonic()
    while not stop.wait(REFRESH_SECONDS):
        received, done = _sample(watched, rates)
        if monotonic() - wrote >= LINE_SECONDS:
            wrote = monotonic()
            print(line(watched, received, done), file=sys.stderr, flush=True)


def _sample(watched: Watched, rates: Rates) -> tuple[float, float]:
    totals = watched.totals()
    return rates.add(monotonic(), totals.get(Metric.EVENTS_RECEIVED.value, 0), _done(totals))


def _done(totals: dict[str, int]) -> int:
    return Status("", counters=totals).outcomes


def line(watched: Watched, received: float, done: float) -> str:
    """Return one line about a job."""
    status = watched.status
    return (
        f"sluice: {status.state}: {received:,.0f} events/s in, {done:,.0f}/s out, lag {behind(status, time())},"
        f" {status.lag.receipts} receipts in flight, {watched.restarts} restarts{f'; {watched.reason}' if watched.reason else ''}"
    )


def behind(status: Status, now: float) -> str:
    """Return how far a job is behind, and, if that was measured a while ago, how long ago."""
    lag, age = status.lag, now - min(status.measured.values(), default=now)
    known = f"{lag.messages:,}" if lag.messages >= 0 else "unknown"
    return f"{known} messages and {lag.seconds:.1f} s{f' ({age:.0f} s ago)' if age > OLD_SECONDS else ''}"


def _table(watched: Watched, received: float, done: float) -> Table:
    status, totals = watched.status, watched.totals()
    table = Table(show_header=False, title=f"sluice ingest, {status.state}")
    if watched.reason:
        table.add_row("", Text(watched.reason, style="red"))
    if watched.waiting:
        table.add_row("next start", f"in {watched.waiting:.0f} s")
    table.add_row("events/s in, out", f"{received:,.0f}, {done:,.0f}")
    table.add_row("lag", behind(status, time()))
    table.add_row("receipts in flight", f"{status.lag.receipts}")
    for name in ("stored", "duplicated", "limited", "rejected"):
        table.add_row(name, f"{totals.get(f'events_{name}', 0):,}")
    table.add_row("slowest step", slowest(status))
    table.add_row("memory", ", ".join(f"{name} {rss >> 20:,} MiB" for name, rss in status.rss.items()))
    table.add_row("restarts", f"{watched.restarts}")
    return table


def slowest(status: Status) -> str:
    """Return the step that most time was spent in, and its share."""
    if not status.steps:
        return ""
    step = max(status.steps, key=lambda name: status.steps[name])
    return f"{step}, {status.steps[step] / max(sum(status.steps.values()), 1e-9):.0%} of the time"
