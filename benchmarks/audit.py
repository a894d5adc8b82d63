"""What `audit` takes: `python -m benchmarks.audit [--rows 8000000]`, for a quarter of the rows and for all, and from these for 100 million.

Rows in receipts of 2,000, of 40 teams, over a month; each receipt has events of all teams. The extrapolation is a straight line through the
two sizes: rows, receipts and outcomes grow alike. Memory is the process's, at its peak.
"""

import argparse
import tempfile
import time
from pathlib import Path

from benchmarks.tables import Filled
from benchmarks.unique import memory, reset_peak
from pipelines.audit import Scope, audit
from transforms.io.clickhouse import Client, close_all, shared
from transforms.io.migrate import migrate

AIM = 100_000_000
HOUR = 3_600_000_000


def _measure(client: Client, rows: int, scope: Scope) -> tuple[float, float, float]:
    """Return wall seconds and CPU seconds, the best of three, and the process's peak in MiB."""
    taken = []
    reset_peak()
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        result = audit(client, scope)
        taken.append((time.perf_counter() - wall, time.process_time() - cpu))
        assert result.balanced, result.differences[:3]
        assert scope != Scope() or result.stored == rows
    return *min(taken), memory("VmHWM") / 1024


def _filled(folder: Path, rows: int) -> tuple[Client, int]:
    client = shared(f"chdb:{folder}")
    migrate(client)
    end = time.time_ns() // 1000 // HOUR * HOUR
    month = Filled(client, rows, 30, end)
    month.fill(0, rows)
    month.account()
    client.command("TRUNCATE TABLE unchecked_ids")  # as after `compact`
    return client, end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8_000_000)
    rows = parser.parse_args().rows
    print("| rows | scope | s | s of CPU | MiB |\n|---:|---|---:|---:|---:|")
    whole = []
    for count in (rows // 4, rows):
        with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
            client, end = _filled(Path(folder), count)
            day = Scope(since=end // 10**6 - 86_400)
            for name, scope in {"all": Scope(), "the last day": day, "one team": Scope(team=3)}.items():
                taken = _measure(client, count, scope)
                print(f"| {count:,} | {name} | {taken[0]:.2f} | {taken[1]:.2f} | {taken[2]:,.0f} |", flush=True)
                whole += [taken] if scope == Scope() else []
            close_all()
    small, large = whole
    wall, cpu = (after + (after - before) / (rows - rows // 4) * (AIM - rows) for before, after in zip(small[:2], large[:2], strict=True))
    print(f"| {AIM:,} | all, extrapolated | {wall:.0f} | {cpu:.0f} | |")


if __name__ == "__main__":
    main()
