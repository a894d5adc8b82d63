"""What `verify` takes, when a job starts and in `compact`: `python -m benchmarks.verify [--rows 20000000]`.

Rows spread evenly over 30 days of arrival and of insert, 40 teams. In turn: a database that was never verified (8 days are compared), one
that was verified just now (two minutes are), all days (as `compact --full`), and 8 days in which a row of `event_ids` is missing in each of
a hundred minutes. CPU is the process's, engine included; memory is its peak.
"""

import argparse
import tempfile
import time
from collections.abc import Callable

from benchmarks.tables import Filled
from benchmarks.unique import memory, reset_peak
from transforms.io.clickhouse import Client, close_all, shared
from transforms.io.migrate import migrate
from transforms.sink.verify import Verification, verify

HOLES = 100


def holes(client: Client) -> None:
    """Make a row miss in `event_ids` in some minutes, as a death between two steps of an insert does."""
    rows = "SELECT min((inserted_at, _receipt, _offset, _index)) FROM event_ids WHERE inserted_at > now() - INTERVAL 7 DAY"
    each = f"{rows} GROUP BY toStartOfMinute(inserted_at) ORDER BY toStartOfMinute(inserted_at) LIMIT {HOLES}"
    client.command(f"DELETE FROM event_ids WHERE (inserted_at, _receipt, _offset, _index) IN ({each})")
    client.command("TRUNCATE TABLE verifications")


def all_days(client: Client) -> Verification:
    days = [f"'{day}'" for (day,) in client.rows("SELECT DISTINCT toString(toDate(_timestamp)) FROM event_ids")]
    return verify(client, days)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000, help="2,000,000 at least, for so many minutes")
    asked = parser.parse_args()
    cases: dict[str, tuple[Callable[[Client], None], Callable[[Client], Verification], int]] = {
        "never verified: 8 days": (lambda _: None, verify, 0),
        "verified just now": (lambda _: None, verify, 0),
        "all days": (lambda _: None, all_days, 0),
        f"{HOLES} minutes of 8 days lack a row": (holes, verify, HOLES),
    }
    print("| what is compared | s | s of CPU | peak MiB |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        client = shared(f"chdb:{folder}")
        migrate(client)
        Filled(client, asked.rows, 30, time.time_ns() // 1000 - 60_000_000).fill(0, asked.rows)
        for name, (before, call, mended) in cases.items():
            before(client)
            reset_peak()
            wall, cpu = time.perf_counter(), time.process_time()
            found = call(client)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            assert found.event_ids == mended, found
            print(f"| {name} | {wall:.2f} | {cpu:.2f} | {memory('VmHWM') / 1024:,.0f} |", flush=True)
        close_all()


if __name__ == "__main__":
    main()
