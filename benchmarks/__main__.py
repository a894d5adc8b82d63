"""`make bench`: the same lines into the same table, side by side in one run.

Each row runs in a process of its own, in turn, several times; the table shows medians. CPU time is of the process and its children, from
after the imports: timings on a shared machine are noise, their ratios are not.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import persons

ROWS = {
    "sluice": "Sluice: parse, limit, persons, deduplicate, store, account",
    "before": "Sluice of another commit",
    "clickhouse": "ClickHouse alone: INSERT FROM file(JSONEachRow)",
    "naive": "naive Beam: an event an element, DeduplicatePerKey",
}
WITHOUT_PERSONS = "d6c9e29"  # the last commit before there were persons
NAIVE_SHARE = 50  # the naive row takes a part of the events: its cost an event does not depend on how many there are


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _sluice(files: list[str], sink: str, teams: str) -> Callable[[], int]:
    from apache_beam.options.pipeline_options import PipelineOptions
    from rich.console import Console

    from runners.ingest import run_ingest

    options = PipelineOptions([], source=files, sink=sink, teams=teams)
    return lambda: run_ingest(options, Console(stderr=True, force_terminal=False))[1].received


def _clickhouse(files: list[str], sink: str, teams: str) -> Callable[[], int]:  # noqa: ARG001
    from benchmarks import plain

    plain.warm_up(sink)
    return lambda: plain.run(files, sink)


def _naive(files: list[str], sink: str, teams: str) -> Callable[[], int]:  # noqa: ARG001
    from benchmarks import naive, plain

    plain.warm_up(sink)
    return lambda: naive.run(files, sink)


def _measure(row: str, files: list[str], teams: str) -> None:
    """Run one row in this process and print what it took, as JSON."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        job = {"sluice": _sluice, "before": _sluice, "clickhouse": _clickhouse, "naive": _naive}[row](files, f"chdb:{folder}", teams)
        began, cpu = time.monotonic(), _cpu()
        events = job()
        took = {"seconds": time.monotonic() - began, "cpu": _cpu() - cpu, "events": events}
        print(json.dumps({**took, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))


def _run(row: str, files: list[str], teams: str, tree: str = ".") -> dict[str, float]:
    row = "sluice" if row == "before" else row  # by which name that commit knows itself
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks", "--row", row, "--teams", teams, *files]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=tree)
    taken = json.loads(result.stdout.splitlines()[-1])
    return {
        "cpu_us": taken["cpu"] / taken["events"] * 1e6,
        "wall_us": taken["seconds"] / taken["events"] * 1e6,
        "peak_mib": taken["peak_mib"],
    }


def _unpack(commit: str, folder: str) -> None:
    tree = subprocess.run(["git", "archive", commit], check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "-x", "-C", folder], check=True, input=tree)


def _has(commit: str) -> bool:
    return subprocess.run(["git", "cat-file", "-e", commit], check=False, stderr=subprocess.DEVNULL).returncode == 0


def _compare(events: int, runs: int, against: str) -> dict[str, Any]:
    from pipelines.generate import Plan, generate

    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder, tempfile.TemporaryDirectory(prefix="sluice-bench-") as tree:
        whole, part = Path(folder, "all"), Path(folder, "part")
        if against:
            _unpack(against, tree)
        for load, count in ((whole, events), (part, max(1000, events // NAIVE_SHARE))):
            generate(Plan(events=count, out=str(load), shape="event", invalid=0))  # so that all rows have the same to do
        results: dict[str, list[dict[str, float]]] = {row: [] for row in ROWS if against or row != "before"}
        for _ in range(runs):
            for row, taken in results.items():
                data = part if row == "naive" else whole
                files = sorted(map(str, data.glob("events-*")))
                taken.append(_run(row, files, str(data / "teams.toml"), tree if row == "before" else "."))
        size = sum(file.stat().st_size for file in whole.glob("events-*"))
    medians = {row: {name: statistics.median(run[name] for run in taken) for name in taken[0]} for row, taken in results.items()}
    return {"events": events, "runs": runs, "against": against, "bytes_per_event": round(size / events), "rows": medians}


def _table(result: dict[str, Any]) -> str:
    base = result["rows"]["clickhouse"]["cpu_us"]
    lines = [
        f"{result['events']:,} events of {result['bytes_per_event']} bytes, median of {result['runs']} runs",
        "",
        f"| {'':<58} | CPU us an event | x ClickHouse | wall us an event | peak MiB |",
        "|---|---:|---:|---:|---:|",
    ]
    for row, taken in result["rows"].items():
        name = ROWS[row] if row != "before" else f"Sluice of commit {result['against']}"
        name += ", without persons" if row == "before" and result["against"] == WITHOUT_PERSONS else ""
        lines.append(
            f"| {name:<58} | {taken['cpu_us']:,.1f} | {taken['cpu_us'] / base:,.1f} | {taken['wall_us']:,.1f} | {taken['peak_mib']:,.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    against = WITHOUT_PERSONS if _has(WITHOUT_PERSONS) else ""
    parser.add_argument("--against", default=against, metavar="COMMIT", help=f"compare with a commit; the default is {WITHOUT_PERSONS}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    parser.add_argument("--teams", help=argparse.SUPPRESS)
    parser.add_argument("files", nargs="*", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.row:
        _measure(asked.row, asked.files, asked.teams)
    else:
        result = _compare(asked.events, asked.runs, asked.against)
        print(json.dumps(result) if asked.json else _table(result))
        if not asked.json:
            print(f"\n{persons.figures(asked.events, asked.events)}")


if __name__ == "__main__":
    main()
