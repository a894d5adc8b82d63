"""How fast loads are generated: events a second of CPU, in one process. `python -m benchmarks.generate [--events 200000]`."""

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from pipelines.generate import Plan, generate

LOADS: tuple[dict[str, Any], ...] = (
    {"shape": "event"},
    {"shape": "captured"},
    {"shape": "batch"},
    {"shape": "http"},
    {"shape": "event", "truth": "truth.jsonl"},
    {"shape": "event", "compression": "gzip"},
    {"shape": "event", "compression": "zstd"},
    {"shape": "event", "format": "avro"},
    {"shape": "event", "format": "parquet"},
    {"shape": "event", "duplicates": 0.3, "invalid": 0.05},
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    events = parser.parse_args().events
    for load in LOADS:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), events, load)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


def measure(folder: Path, events: int, load: dict[str, Any]) -> None:
    paths = {"out": str(folder / "load"), **({"truth": str(folder / load["truth"])} if "truth" in load else {})}
    wall, cpu = time.perf_counter(), time.process_time()
    summary = generate(Plan(**{"events": events, **load, **paths}), processes=1)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    name = " ".join(f"{option}={value}" for option, value in load.items())
    print(f"{name:<40} {events / cpu:>9,.0f} events/s of CPU {events / wall:>9,.0f} of time {summary.bytes / events:>6,.0f} bytes/event")


if __name__ == "__main__":
    main()
