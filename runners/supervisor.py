"""Keep a stream running on this machine: start its worker, start another when it fails, stop it in order; and show how it is."""

import json
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress
from time import monotonic
from typing import Any

from rich.console import Console

from runners.health import serve
from runners.live import show
from runners.process import die_with_parent
from runners.status import Status, decode
from transforms.metrics import Metric

WORKER = "runners.worker"  # the module that a worker runs
REFUSED = 2
LONGEST_WAIT = 60.0  # seconds between two starts
STEADY_SECONDS = 60.0  # a worker that ran so long did not fail for the reason that the one before it did
STOP_SECONDS = 45.0  # a worker that does not end by itself in this time is killed: its time to drain, and to close


class Supervisor:
    """One stream and its worker.

    Args:
        ours: the values of IngestOptions.
        beam: other options, for Beam.
    """

    def __init__(self, ours: dict[str, Any], beam: list[str]) -> None:
        self._ours, self._beam = ours, beam
        self._stop = threading.Event()
        self._worker: subprocess.Popen[bytes] | None = None
        self._before: Counter[str] = Counter()  # what workers that ended have counted
        self.status = self._ended = Status("starting")
        self.restarts = 0
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
            print(f"sluice: the worker ended with code {code}; the next one starts in {self.waiting:.1f} s", file=sys.stderr)
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
        return dict(self._before + Counter(self.status.counters))

    @property
    def is_ready(self) -> bool:
        """Whether a worker is at work, and the breaker is not open."""
        return self.status.state == "running" and not self.breaker

    def _hear(self, status: Status) -> None:
        if status.breaker:
            self.breaker = status.breaker
        elif status.outcomes:
            self.breaker = ""
        self.status = status

    def _run_worker(self) -> int:
        self.status = Status("starting")
        arguments = {"ours": {**self._ours, "breaker_was_open": bool(self.breaker)}, "beam": self._beam}
        command = [sys.executable, "-m", WORKER]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=die_with_parent) as worker:
            self._worker = worker
            _tell(worker, arguments)
            if self._stop.is_set():
                worker.send_signal(signal.SIGTERM)
            killer = threading.Thread(target=self._kill_late, args=(worker,), daemon=True)
            killer.start()
            for line in worker.stdout or ():
                self._hear(decode(line))
            code = worker.wait()
        self._worker = None
        self._ended = self.status
        self._before += Counter(self._ended.counters)
        self.status = Status("breaker open" if self.breaker else "starting", lags=self.status.lags)
        return code

    def _kill_late(self, worker: "subprocess.Popen[bytes]") -> None:
        self._stop.wait()
        try:
            worker.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            worker.kill()


def _tell(worker: "subprocess.Popen[bytes]", arguments: dict[str, Any]) -> None:
    """Give a worker its options, by its standard input: what stands in a command line is shown to every user of the machine."""
    assert worker.stdin is not None
    with suppress(BrokenPipeError):  # it has ended already, and its exit code says so
        worker.stdin.write(json.dumps(arguments).encode())
        worker.stdin.close()


def supervise(ours: dict[str, Any], beam: list[str], console: Console, port: int | None = None) -> tuple[int, dict[str, int]]:
    """Run a stream until SIGTERM or SIGINT; return the exit code, and the sums over all workers by the name of the Metric.

    Args:
        ours: the values of IngestOptions.
        beam: other options, for Beam.
        console: a live view goes there if it is a terminal, else a line a minute.
        port: of the health checks and metrics on all interfaces; None for none.
    """
    supervisor = Supervisor(ours, beam)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    with serve(supervisor, port), show(supervisor, console):
        code = supervisor.run()
    return code, {metric.value: supervisor.totals().get(metric.value, 0) for metric in Metric}
