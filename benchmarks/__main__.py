"""`make bench`: the same lines into the same table, side by side in one run.

Each row runs in a process of its own, in turn, several times; the table shows medians. CPU time is of the process and its children, from
after the imports: timings on a shared machine are noise, their ratios are not. What each row does is in docs/bench.md.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure import PEERS, measure, run
from benchmarks.rows import ROWS, Load

WITHOUT_PERSONS = "d6c9e29"  # the last commit before there were persons


class _Data(NamedTuple):
    """A generated load, with what has to come of it."""

    load: Load
    events: int
    bytes: int
    unique: int
    of_sluice: int


def _unpack(commit: str, folder: str) -> None:
    tree = subprocess.run(["git", "archive", commit], check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "-x", "-C", folder], check=True, input=tree)


def _has(commit: str) -> bool:
    return subprocess.run(["git", "cat-file", "-e", commit], check=False, stderr=subprocess.DEVNULL).returncode == 0


def _generate(events: int, folder: Path) -> _Data:
    """Generate events that all rows can take: none invalid, and no quota, which goes by the hour of the run."""
    from benchmarks.rows.common import unique
    from pipelines.generate import Plan, generate

    made = generate(Plan(events=events, out=str(folder), shape="event", invalid=0, quota=0))
    load = Load(sorted(map(str, made.files)), str(made.teams))
    return _Data(load, made.events, made.bytes, unique(load.files), made.stored)


def _check(name: str, stored: int, data: _Data) -> None:
    """Refuse a row that has not done its job.

    Raises:
        SystemExit: it has stored another number of rows than it had to.
    """
    least = data.of_sluice if name == "sluice" else data.unique  # Sluice limits some events, as the registry of teams asks for
    if name == "before" and stored == data.of_sluice:
        return  # that commit knows these limits too
    most = data.events if name == "clickhouse" else least  # ClickHouse alone drops the duplicates that are in one block of an insert
    if not least <= stored <= most:
        raise SystemExit(f"{name} stored {stored:,} rows instead of {least:,} to {most:,}: its figures would not count")


def _figures(name: str, data: _Data, taken: dict[str, Any]) -> dict[str, Any]:
    """Return what one run took, an event."""
    if "unavailable" in taken:
        return taken
    if "stored" in taken:  # older commits do not say
        _check(name, taken["stored"], data)
    times = {"cpu_us": taken["cpu"], "wall_us": taken["seconds"], "apart_us": taken.get("apart", 0)}
    return {"events": data.events, "peak_mib": taken["peak_mib"]} | {each: time / data.events * 1e6 for each, time in times.items()}


def _medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    unavailable = [taken for taken in runs if "unavailable" in taken]
    return unavailable[0] if unavailable else {each: statistics.median(taken[each] for taken in runs) for each in runs[0]}


def _compare(events: int, runs: int, against: str, only: list[str]) -> dict[str, Any]:
    """Run the rows in turn; return their medians."""
    names = [name for name in ROWS if (against or name != "before") and (not only or name in only)]
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder, tempfile.TemporaryDirectory(prefix="sluice-bench-") as tree:
        if against and "before" in names:
            _unpack(against, tree)
        data = {
            share: _generate(max(1000, events // share), Path(folder, str(share))) for share in {1, *(ROWS[name].share for name in names)}
        }
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for _ in range(runs):
            for name, taken in results.items():
                mine = data[ROWS[name].share]
                taken.append(_figures(name, mine, run(name, mine.load, folder, tree if name == "before" else ".")))
    rows = {name: {"title": _title(name, against)} | _medians(taken) for name, taken in results.items()}
    for base in ("clickhouse", "sluice"):
        for row in rows.values():
            if "cpu_us" in row and base in rows:
                row[f"x_{base}"] = row["cpu_us"] / rows[base]["cpu_us"]
    return {"events": events, "runs": runs, "against": against, "bytes_per_event": round(data[1].bytes / data[1].events), "rows": rows}


def _title(name: str, against: str) -> str:
    if name != "before":
        return ROWS[name].title
    return f"Sluice of commit {against}" + (", without persons" if against == WITHOUT_PERSONS else "")


def _line(row: dict[str, Any]) -> str:
    if "unavailable" in row:
        return f"| {row['title']:<58} | not available here: {row['unavailable']} | | | | | |"
    ratios = " | ".join(f"{row[base]:,.1f}" if base in row else "" for base in ("x_clickhouse", "x_sluice"))
    return (
        f"| {row['title']:<58} | {row['events']:,.0f} | {row['cpu_us']:,.1f} | {ratios} | {row['wall_us']:,.1f} | {row['peak_mib']:,.0f} |"
    )


def _table(result: dict[str, Any]) -> str:
    return "\n".join(
        [
            f"{result['events']:,} events of {result['bytes_per_event']} bytes, median of {result['runs']} runs",
            "",
            f"| {'':<58} | events | CPU us an event | x ClickHouse | x Sluice | wall us an event | peak MiB |",
            "|---|---:|---:|---:|---:|---:|---:|",
            *map(_line, result["rows"].values()),
            *(
                f"\n{row['title']}: {row['apart_us']:,.1f} of its us are ClickHouse's."
                for row in result["rows"].values()
                if row.get("apart_us")
            ),
        ]
    )


def _draw(result: dict[str, Any], path: str) -> None:
    subprocess.run([PEERS, "-m", "benchmarks.chart", path], check=True, input=json.dumps(result), text=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    against = WITHOUT_PERSONS if _has(WITHOUT_PERSONS) else ""
    parser.add_argument("--against", default=against, metavar="COMMIT", help=f"compare with a commit; the default is {WITHOUT_PERSONS}")
    parser.add_argument("--only", action="append", choices=ROWS, default=[], help="run this row alone; can be repeated")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--svg", metavar="FILE", help="draw a bar chart too")
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    parser.add_argument("--teams", help=argparse.SUPPRESS)
    parser.add_argument("files", nargs="*", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.row:
        print(json.dumps(measure(asked.row, Load(asked.files, asked.teams))))
        return
    result = _compare(asked.events, asked.runs, asked.against, asked.only)
    print(json.dumps(result) if asked.json else _table(result))
    if asked.svg:
        _draw(result, asked.svg)
    if not (asked.json or asked.only):
        from benchmarks import persons

        print(f"\n{persons.figures(asked.events, asked.events)}")


if __name__ == "__main__":
    main()
