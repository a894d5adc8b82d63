"""What reading costs, by format: CPU microseconds a message of about 950 bytes. `python -m benchmarks.files [--events 100000]`."""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from uuid import UUID

from pipelines.generate import Plan, generate
from transforms.io.files.plan import match, split
from transforms.io.files.read import read_range

RUN = UUID(int=1)
LOADS = {
    "lines": {},
    "gzip": {"compression": "gzip"},
    "zstd": {"compression": "zstd"},
    "Avro": {"format": "avro"},
    "Avro, deflate": {"format": "avro", "compression": "gzip"},
    "Parquet": {"format": "parquet"},
    "Parquet, zstd": {"format": "parquet", "compression": "zstd"},
}


def _cost(folder: Path) -> float:
    """Return CPU microseconds a message of reading a folder once."""
    messages = 0
    began = time.process_time()
    for file in match([str(folder)]):
        for part in split(file.path, file.size, RUN, 0):
            messages += sum(len(read.payloads) for read in read_range(part))
    return (time.process_time() - began) / messages * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folders = {name: Path(scratch) / str(place) for place, name in enumerate(LOADS)}
        for name, folder in folders.items():
            generate(Plan(events=asked.events, out=str(folder), shape="event", **LOADS[name]))
        costs: dict[str, list[float]] = {name: [] for name in LOADS}
        for _ in range(asked.runs):  # interleaved, so that what disturbs the machine disturbs all
            for name, folder in folders.items():
                costs[name].append(_cost(folder))
    print(f"{'format':<16}{'us a message':>13}")
    for name, runs in costs.items():
        print(f"{name:<16}{statistics.median(runs):>13.2f}")


if __name__ == "__main__":
    main()
