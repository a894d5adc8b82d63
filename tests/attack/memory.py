"""How much memory and CPU a call takes, in a process whose memory is managed as a worker's."""

import gc
import zlib
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import NamedTuple

from runners.tuning import tuned

STATUS, PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"
# What a core of its own takes for the same work: a machine that does other things at the same time shares caches and clocks.
WORK, QUIET_SECONDS = bytes(range(256)) * 8_000, 0.03


class Cost(NamedTuple):
    """CPU seconds, of a core of its own, and MiB that were held at most beside what was held before."""

    seconds: float
    mebibytes: float


def cost_of(call: Callable[[], object]) -> Cost:
    """Return what a call costs."""
    gc.collect()
    with tuned():
        slowness = max(1.0, _work() / QUIET_SECONDS)
        PEAK.write_text(RESET_PEAK)
        before, start = _held("VmRSS"), process_time()
        call()
        return Cost((process_time() - start) / slowness, _held("VmHWM") - before)


def least_cost_of(call: Callable[[], object], seconds: float) -> Cost:
    """Return what a call costs: the least of three times, if it is more than so many seconds, since others work on the machine."""
    cost = cost_of(call)
    for _ in range(2):
        if cost.seconds <= seconds:
            break
        cost = min(cost, cost_of(call))
    return cost


def _work() -> float:
    start = process_time()
    for _ in range(3):
        zlib.crc32(WORK * 2)
        sum(len(WORK[place : place + 100].split(b"x")) for place in range(0, len(WORK), 40))
    return process_time() - start


def _held(name: str) -> float:
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) / 1024
