"""The heartbeat of a worker: a line each second about how it is, on standard output, for its supervisor."""

import os
import subprocess
import threading
from time import time

from runners.process import used
from runners.status import Status, encode
from transforms.activity import Stall, away_since
from transforms.io.streams import fetchers
from transforms.metrics import Lag, alarms, lags, progress, step_seconds

EVERY_SECONDS = 1.0


class Heartbeat:
    """Says how this process is, by a thread that does nothing else: it speaks while all others wait, and not when none can run.

    Attributes:
        state, run: as in Status.
        runner: Prism, when there is one.
    """

    def __init__(self) -> None:
        self.state, self.run = "starting", ""
        self.runner: subprocess.Popen[bytes] | None = None
        self._out = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)  # what a library prints is no line of ours
        self._lock = threading.Lock()
        self._stall = Stall(EVERY_SECONDS)
        self._stalled = 0.0
        self._measured: dict[str, tuple[Lag, float]] = {}
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def say(self) -> None:
        """Write a line."""
        with self._lock:
            self._out.write(encode(self._status()) + b"\n")
            self._out.flush()

    def _beat(self) -> None:
        while True:
            self.say()
            threading.Event().wait(EVERY_SECONDS)
            self._stalled = self._stall.look(any(fetcher.in_flight for fetcher in fetchers()))

    def _status(self) -> Status:
        self._look_at_lags()
        processes = {"worker": os.getpid(), **({"runner": self.runner.pid} if self.runner else {})}
        taken = {name: used(number) for name, number in processes.items()}
        return Status(
            self.state,
            self.run,
            {metric.value: amount for metric, amount in progress.copy().items()},
            {split: lag for split, (lag, _) in self._measured.items()},
            {step: round(seconds, 3) for step, seconds in step_seconds.copy().items()},
            {name: rss for name, (rss, _) in taken.items()},
            {name: cpu for name, (_, cpu) in taken.items()},
            "; ".join(alarms.values()),
            {split: when for split, (_, when) in self._measured.items()},
            away_since(),
            self._stalled,
        )

    def _look_at_lags(self) -> None:
        """Take down when each lag was measured: each measurement is an object of its own."""
        for split, lag in lags.copy().items():
            if split not in self._measured or self._measured[split][0] is not lag:
                self._measured[split] = lag, time()
