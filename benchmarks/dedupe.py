"""What deduplication costs as the window fills: CPU microseconds and bytes of memory an id. `python -m benchmarks.dedupe [--ids 50]`."""

import argparse
import os
import resource
import time

import numpy as np

from schemas.event import Event
from transforms.dedupe.filter import DuplicateFilter
from transforms.one_process import Cell

SHARDS = 4  # what the embedded sink takes
BATCH = 4_000 // SHARDS  # events of one shard in a batch of 4,000, what a block of a file holds
DAY = 86_400_000_000


def _event(day: int) -> Event:
    return Event(1, b"", "", "", 0, day * DAY, b"", "", False, 0, 0, 0, 0)


def _resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ids", type=int, default=10, help="millions of ids to fill the window with")
    total = parser.parse_args().ids * 1_000_000
    rng = np.random.default_rng(1)
    filter_ = DuplicateFilter(SHARDS, table=None, log=False)
    heads = [Cell() for _ in range(SHARDS)]
    before = _resident()
    print(f"{'million ids':>12} {'us an id':>9} {'bytes an id':>12}")
    done, step, marks = (
        0,
        BATCH * SHARDS,
        [mark * 1_000_000 for mark in (0.1, 1, 5, 10, 20, 30, 40, 50, 100) if mark * 1_000_000 <= total],
    )
    window: list[float] = []
    while done < total:
        day = 20_000 + done * 8 // total
        events = [_event(day)] * BATCH
        keys = rng.bytes(step * 16)
        began = time.process_time()
        for shard in range(SHARDS):
            part = keys[shard * BATCH * 16 : (shard + 1) * BATCH * 16]
            verdicts = filter_.judge(shard, events, part, 0, heads[shard], ())
            assert len(verdicts.new) == BATCH
        window.append(time.process_time() - began)
        done += step
        if done >= marks[0]:
            recent = window[-max(20, len(window) // 10) :]
            print(
                f"{done / 1e6:12.1f} {sum(recent) / len(recent) / step * 1e6:9.2f} {(_resident() - before) / done:12.1f}",
                flush=True,
            )
            marks.pop(0)
            if not marks:
                break
    print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


if __name__ == "__main__":
    main()
