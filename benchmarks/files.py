"""What reading costs, by format, and what it costs to recognise a file: CPU microseconds a message of about 950 bytes.

python -m benchmarks.files [--events 100000]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from uuid import UUID

from pipelines.generate import Plan, generate
from transforms.io.files.identity import contents
from transforms.io.files.plan import match, plan_ranges
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


def _costs(folder: Path) -> tuple[float, float]:
    """Return CPU microseconds a message of reading a folder once, and of hashing it."""
    files = match([str(folder)])
    began = time.process_time()
    messages = sum(len(read.payloads) for part in plan_ranges(files, RUN, 0) for read in read_range(part))
    read = time.process_time()
    for file in files:
        contents(file, ())
    return (read - began) / messages * 1e6, (time.process_time() - read) / messages * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folders = {name: Path(scratch) / str(place) for place, name in enumerate(LOADS)}
        for name, folder in folders.items():
            generate(Plan(events=asked.events, out=str(folder), shape="event", **LOADS[name]))
        costs: dict[str, list[tuple[float, float]]] = {name: [] for name in LOADS}
        for _ in range(asked.runs):  # interleaved, so that what disturbs the machine disturbs all
            for name, folder in folders.items():
                costs[name].append(_costs(folder))
    print(f"{'us a message':<16}{'read':>8}{'recognise':>11}")
    for name, runs in costs.items():
        read, recognised = (statistics.median(each) for each in zip(*runs, strict=True))
        print(f"{name:<16}{read:>8.2f}{recognised:>11.2f}")


if __name__ == "__main__":
    main()
