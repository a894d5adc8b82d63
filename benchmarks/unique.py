"""What `events_unique` costs against `events`, and what `compact` takes: `python -m benchmarks.unique [--rows 20000000] [--doubles 1000]`.

A month of events, ten times of it with doubles (each with another day of event time and another receipt), and `compact` an hour before the
end of the month. Then the last hour, without doubles and with a hundred. Queries take turns; medians; CPU time of all threads.
"""

import argparse
import statistics
import tempfile
import time
from typing import NamedTuple

from benchmarks.tables import DAY, Filled
from pipelines.compact import compact
from transforms.io.clickhouse import Client, shared
from transforms.io.migrate import migrate

HOUR = 3_600_000_000
BY_EVENT = "SELECT event, count() FROM {} WHERE {} GROUP BY event"
BY_DAY = "SELECT toDate(timestamp) AS day, uniq(person_id) FROM {} WHERE {} GROUP BY day"


class Taken(NamedTuple):
    """Seconds."""

    wall: float
    cpu: float


def _queries(end: int) -> dict[str, tuple[str, str]]:
    """Return query and condition by name."""
    spans = {"month": 30 * DAY, "day": DAY}
    return {
        f"{span}, {teams}, {what}": (query, f"timestamp >= fromUnixTimestamp64Micro({end - length}){only}")
        for span, length in spans.items()
        for teams, only in (("all teams", ""), ("one team", " AND team_id = 3"))
        for what, query in (("count by event", BY_EVENT), ("persons by day", BY_DAY))
    }


def _taken(client: Client, sql: str) -> Taken:
    wall, cpu = time.perf_counter(), time.process_time()
    client.rows(sql)
    return Taken(time.perf_counter() - wall, time.process_time() - cpu)


def _compare(client: Client, end: int, runs: int) -> dict[str, dict[str, Taken]]:
    """Return what each query takes of each table, in medians."""
    results = {}
    for name, (query, where) in _queries(end).items():
        taken: dict[str, list[Taken]] = {"events": [], "events_unique": []}
        for _ in range(runs if "all teams" in name else 5 * runs):
            for table, all_taken in taken.items():
                all_taken.append(_taken(client, query.format(table, where)))
        results[name] = {table: Taken(*map(statistics.median, zip(*every, strict=True))) for table, every in taken.items()}
    return results


def _compacted(client: Client) -> str:
    """Run `compact`; return what it did, with the memory that it took on top."""
    reset_peak()
    before = memory("VmRSS")
    done = compact(client)
    mib = (memory("VmHWM") - before) / 1024
    kind = "full" if done.full else "incremental"
    return f"compact, {kind}: {done.found:,} doubles among {done.rows:,} ids, {done.seconds:.1f} s, {mib:,.0f} MiB on top"


def reset_peak() -> None:
    """Let the process's peak of memory (VmHWM) begin anew."""
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")


def memory(name: str) -> int:
    """Return one of this process's figures, KiB."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))


def _table(quiet: dict[str, dict[str, Taken]], doubled: dict[str, dict[str, Taken]]) -> str:
    lines = ["| | `events`, ms CPU | `events_unique`, times | wall time, times | with doubles, times |", "|---|---:|---:|---:|---:|"]
    for name, taken in quiet.items():
        plain, unique, other = taken["events"], taken["events_unique"], doubled[name]
        lines.append(
            f"| {name} | {plain.cpu * 1000:,.0f} | {unique.cpu / plain.cpu:.2f} | {unique.wall / plain.wall:.2f}"
            f" | {other['events_unique'].cpu / other['events'].cpu:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--doubles", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        client = shared(f"chdb:{folder}")
        migrate(client)
        end = time.time_ns() // 1000 + HOUR  # so that the hour before the end is now
        month = Filled(client, asked.rows, 30, end)
        last_hour = month.number_at(end - HOUR)
        month.fill(0, last_hour)
        each, apart = asked.doubles // 10, last_hour // 11
        for incident in range(1, 11):
            month.insert(f"SELECT number FROM numbers({incident * apart}, {each})", copy=True)
        client.command("OPTIMIZE TABLE events FINAL")
        print(_compacted(client))
        print(_compacted(client))
        month.fill(last_hour, asked.rows, at_once=max(1, (asked.rows - last_hour) // 12))
        quiet = _compare(client, end, asked.runs)
        month.insert(f"SELECT number FROM numbers({last_hour + 10}, 100)", copy=True)
        doubled = _compare(client, end, asked.runs)
        print(_table(quiet, doubled))
        print(_compacted(client))
        rows = client.rows("SELECT (SELECT count() FROM events), (SELECT count() FROM events_unique)")
        assert rows == [(asked.rows, asked.rows)], rows


if __name__ == "__main__":
    main()
