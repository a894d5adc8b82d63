"""Keep a stream running on this machine: start its worker, start another when it fails or hangs, stop it in order; and show how it is."""

import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from time import monotonic
from typing import Any, NamedTuple

import msgspec
from rich.console import Console

from runners.health import serve
from runners.live import show
from runners.process import die_with_parent
from runners.status import Status, decode
from transforms.metrics import Metric

WORKER = "runners.worker"  # the module that a worker runs
FAILED, REFUSED = 1, 2
LONGEST_WAIT = 60.0  # seconds between two starts
STEADY_SECONDS = 60.0  # a worker that ran so long did not fail for the reason that the one before it did
STOP_SECONDS = 45.0  # a worker that does not end by itself in this time is killed: its time to drain, and to close
TICK_SECONDS = 0.5  # between two looks at a worker that says nothing
START_SECONDS = 300.0  # that a worker which starts may say nothing, and not come on, at least: a busy machine takes long to import Beam


class Timeouts(NamedTuple):
    """How long a worker may do nothing before it is killed and another one started; 0 for ever.

    Attributes:
        heartbeat: seconds without a line from it.
        progress: seconds for which no thread comes on, while there is something to do and none waits for ClickHouse.

    One that starts has START_SECONDS for either.
    """

    heartbeat: float = 30.0
    progress: float = 120.0


DEFAULT = Timeouts()


class Supervisor:
    """One stream and its worker.

    Args:
        ours: the values of IngestOptions.
        beam: other options, for Beam.
        timeouts: how long a worker may do nothing.
    """

    def __init__(self, ours: dict[str, Any], beam: list[str], timeouts: Timeouts = DEFAULT) -> None:
        self._ours, self._beam, self._timeouts = ours, beam, timeouts
        self._stop = threading.Event()
        self._worker: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()  # of the two that totals are the sum of
        self._before: Counter[str] = Counter()  # what workers that ended have counted
        self.status = self._ended = Status("starting")
        self._began = 0.0  # of the worker
        self._silent = 0.0  # seconds
        self._away_since = 0.0
        self.restarts = 0
        self.hung = 0
        """Workers that were killed since they hung."""
        self.waiting = 0.0
        """Seconds until the next start, while no worker runs."""
        self.breaker = ""
        """Why the breaker is open, from when a worker says so until another one has brought events to their end."""

    def run(self) -> int:
        """Run until `stop`. Return 0 if it was stopped, 2 if the worker refused to start the first time."""
        failures = 0
        while not self._stop.is_set():
            began = monotonic()
            code = self._run_worker()
            if self._stop.is_set() or (code == REFUSED and not self.restarts):
                return REFUSED if code == REFUSED else 0
            # One that brought receipts to their end failed at what comes behind them: waiting would only add to the lag.
            is_new = monotonic() - began > STEADY_SECONDS or (self._ended.count(Metric.RECEIPTS_ACKNOWLEDGED) > 0 and not self.breaker)
            failures = 1 if is_new else failures + 1
            self.restarts += 1
            self.waiting = min(LONGEST_WAIT, 0.25 * 2**failures) * random.uniform(0.5, 1.0)
            _say(f"the worker ended with code {code}; the next one starts in {self.waiting:.1f} s")
            self._stop.wait(self.waiting)
            self.waiting = 0.0
        return 0

    def stop(self) -> None:
        """Stop reading, let what is in flight be finished, and end."""
        self._stop.set()
        if self._worker is not None:
            self._worker.send_signal(signal.SIGTERM)

    def totals(self) -> dict[str, int]:
        """Return all counters, over all workers."""
        with self._lock:
            return dict(self._before + Counter(self.status.counters))

    @property
    def reason(self) -> str:
        """Why no events are brought to their end now; nothing while they are."""
        status = self.status
        if self.breaker:
            return self.breaker
        if self._silent > (self._timeouts.heartbeat or DEFAULT.heartbeat) / 2:
            return f"{status.state}, but no heartbeat for {self._silent:.0f} s"
        if self._away_since:
            return f"{status.state}, waiting for ClickHouse since {datetime.fromtimestamp(self._away_since, UTC):%Y-%m-%dT%H:%M:%SZ}"
        if status.stalled > (self._timeouts.progress or DEFAULT.progress) / 2:
            return f"{status.state}, but no progress for {status.stalled:.0f} s"
        return "" if status.state == "running" else status.state

    @property
    def is_ready(self) -> bool:
        """Whether events are brought to their end."""
        return not self.reason

    def _hear(self, status: Status) -> None:
        if status.breaker:
            self.breaker = status.breaker
        elif status.outcomes:
            self.breaker = ""
        if status.away_since:
            self._away_since = min(status.away_since, self._away_since or status.away_since)
        elif status.state == "running":
            self._away_since = 0.0
        self.status = self._with_last_lags(status)

    def _with_last_lags(self, status: Status) -> Status:
        """Return the status with what was last measured of splits that this worker has not measured yet."""
        if status.lags and monotonic() - self._began > STEADY_SECONDS:
            return status  # it knows all splits that there are
        before = self.status
        return msgspec.structs.replace(status, lags={**before.lags, **status.lags}, measured={**before.measured, **status.measured})

    def _run_worker(self) -> int:
        """Run a worker to its end; return its exit code. What it leaves in its temporary folder goes with it, also if it was killed."""
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-", ignore_cleanup_errors=True))
                worker = stack.enter_context(_start(folder))
            except (OSError, subprocess.SubprocessError) as error:  # no descriptor, process or space is left; later there may be
                _say(f"no worker can be started: {error}")
                self._ended = Status("")
                return FAILED
            self._worker, self._began = worker, monotonic()
            _tell(worker, {"ours": {**self._ours, "breaker_was_open": bool(self.breaker)}, "beam": self._beam})
            if self._stop.is_set():
                worker.send_signal(signal.SIGTERM)
            self._follow(worker)
            code = worker.wait()
        self._worker = None
        self._forget()
        return code

    def _follow(self, worker: "subprocess.Popen[bytes]") -> None:
        """Hear what a worker says until it ends; kill it if it hangs, or does not stop in time."""
        assert worker.stdout is not None
        stopping = 0.0
        for lines in _lines(worker.stdout.fileno()):
            for line in lines:
                self._hear(decode(line))
            # Time is counted in looks, not by the clock: while this process, or the machine, did not run, nobody was silent.
            self._silent = 0.0 if lines else self._silent + TICK_SECONDS
            if self._stop.is_set():
                stopping = stopping or monotonic()
                if monotonic() - stopping > STOP_SECONDS:
                    worker.kill()
            elif why := self._hangs():
                self.hung += 1
                _say(f"the worker hangs and is killed: {why}; what it has not acknowledged is read again")
                worker.kill()
                return

    def _hangs(self) -> str:
        least = START_SECONDS if self.status.state == "starting" else 0.0
        heartbeat, progress = self._timeouts
        if heartbeat and self._silent > max(heartbeat, least):
            return f"no heartbeat for {self._silent:.0f} s"
        if progress and self.status.stalled > max(progress, least):
            return f"no progress for {self.status.stalled:.0f} s, though there is something to do"
        return ""

    def _forget(self) -> None:
        """Keep what a worker that has ended counted, and what it last knew of the lag."""
        self._ended, self._silent = self.status, 0.0
        if not self._ended.away_since:
            self._away_since = 0.0
        with self._lock:
            self._before += Counter(self._ended.counters)
            self.status = Status("breaker open" if self.breaker else "starting", lags=self._ended.lags, measured=self._ended.measured)


def _start(folder: str) -> "subprocess.Popen[bytes]":
    command, environment = [sys.executable, "-m", WORKER], {**os.environ, "TMPDIR": folder}
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=die_with_parent)


def _tell(worker: "subprocess.Popen[bytes]", arguments: dict[str, Any]) -> None:
    """Give a worker its options, by its standard input: what stands in a command line is shown to every user of the machine."""
    assert worker.stdin is not None
    with suppress(BrokenPipeError):  # it has ended already, and its exit code says so
        worker.stdin.write(json.dumps(arguments).encode())
        worker.stdin.close()


def _lines(pipe: int) -> Iterator[list[bytes]]:
    """Yield the lines that come, and none when none came in time, until the pipe is closed."""
    poll, rest = select.poll(), b""  # epoll would take a descriptor, and there may be none left
    poll.register(pipe, select.POLLIN)
    while True:
        if not poll.poll(TICK_SECONDS * 1000):
            yield []
        elif chunk := os.read(pipe, 1 << 16):
            *lines, rest = (rest + chunk).split(b"\n")
            yield lines
        else:
            return


def _say(what: str) -> None:
    print(f"sluice: {what}", file=sys.stderr, flush=True)


def supervise(
    ours: dict[str, Any],
    beam: list[str],
    console: Console,
    port: int | None = None,
    host: str = "127.0.0.1",
    timeouts: Timeouts = DEFAULT,
) -> tuple[int, dict[str, int]]:
    """Run a stream until SIGTERM or SIGINT; return the exit code, and the sums over all workers by the name of the Metric.

    Args:
        ours: the values of IngestOptions.
        beam: other options, for Beam.
        console: a live view goes there if it is a terminal, else a line a minute.
        port, host: of the health checks and metrics; no port for none.
        timeouts: how long a worker may do nothing.

    Raises:
        ConfigError: the port cannot be had.
    """
    supervisor = Supervisor(ours, beam, timeouts)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    with serve(supervisor, port, host), show(supervisor, console):
        code = supervisor.run()
    return code, {metric.value: supervisor.totals().get(metric.value, 0) for metric in Metric}
