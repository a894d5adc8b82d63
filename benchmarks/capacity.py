"""What a rate of events takes: `python -m benchmarks.capacity [--rates 1,10,100] [--average 0.5] [--json]`. docs/capacity.md explains it.

Everything is computed from the measured figures below; each says which command prints it.
"""

import argparse
import json
from dataclasses import dataclass
from typing import Any

MINUTE, DAY = 60, 86_400
GB = 1e9

# `make bench`: CPU us an event of 950 bytes, the whole path with persons, into embedded ClickHouse.
PATH_US = 23.4
# `make bench`: of them what ClickHouse does: the row "ClickHouse alone", which also parses JSON.
CLICKHOUSE_US = 5.7
# `python -m benchmarks.steps`: three times encode and decode, between the keyed steps of a runner that shuffles.
SHUFFLE_US = 11.0
# `python -m benchmarks.stream`: worker and Prism while a backlog is drained, less the path: Kafka's client, calls, short bundles.
STREAM_US = 36.2 - PATH_US
# `python -m benchmarks.dedupe --ids 50`: bytes an id of the last 8 days of arrival.
INDEX_BYTES = 18.8
WINDOW_DAYS = 8
# `python -m benchmarks.persons`: bytes an anonymous distinct id, and a person with five properties.
ID_BYTES, PERSON_BYTES = 101, 355
# A worker's own: Python, Beam, ClickHouse's client, two batches and two blocks of rows.
WORKER_BYTES = 1.0e9
# `OPTIMIZE ... FINAL` of 300,000 events of the generated load: bytes on disk an event, in all tables.
DISK = 206
# Of an event in a topic, before the broker compresses.
MESSAGE_BYTES = 950
ROWS_AN_INSERT = 16_000
INSERTS_A_BLOCK = 6  # events, two of facts, outcomes, two of receipts


@dataclass(frozen=True)
class Load:
    """What is sized for.

    Attributes:
        peak: events a minute at the peak.
        average: of a day, as a part of the peak.
        busy: how much of a core may be in use at the peak; the rest is for outages to be caught up with.
        ids, persons: new distinct ids, and new persons with properties, an event.
        core_hour, gb_hour: US dollars for a core and for a GB of memory; what clouds ask without a contract.
    """

    peak: float
    average: float = 0.5
    busy: float = 0.6
    ids: float = 0.02
    persons: float = 0.005
    core_hour: float = 0.04
    gb_hour: float = 0.005


def sized(load: Load) -> dict[str, Any]:
    """Return what a load takes."""
    rate = load.peak / MINUTE
    day = rate * load.average * DAY
    index = day * WINDOW_DAYS * INDEX_BYTES
    persons = day * (load.ids * ID_BYTES + load.persons * PERSON_BYTES)
    cores = rate * (PATH_US - CLICKHOUSE_US + SHUFFLE_US + STREAM_US) / 1e6 / load.busy
    workers = max(1, round(cores + 0.5))
    memory = (index + persons + workers * WORKER_BYTES) / GB
    clickhouse = rate * CLICKHOUSE_US / 1e6 / load.busy * 2  # merges write everything about once more
    dollars = 24 * ((cores + clickhouse) * load.core_hour + memory * load.gb_hour)
    return {
        "events a second": round(rate),
        "worker cores": round(cores, 1),
        "memory of ids, GB": round(index / GB, 1),
        "memory of persons a day of new ones, GB": round(persons / GB, 2),
        "worker memory, GB": round(memory),
        "memory a worker core, GB": round(memory / workers, 1),
        "ClickHouse cores": round(clickhouse, 1),
        "inserts a second": round(max(workers * 2.0, rate / ROWS_AN_INSERT) * INSERTS_A_BLOCK, 1),
        "ClickHouse disk, GB a day": round(day * DISK / GB, 1),
        "broker, MB/s at the peak": round(rate * MESSAGE_BYTES / 1e6),
        "cores and memory, US dollars a day": round(dollars),
        "US dollars a billion events": round(dollars / day * 1e9, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", default="1,10,100", help="millions of events a minute at the peak")
    parser.add_argument("--average", type=float, default=Load.average, help="of a day, as a part of the peak")
    parser.add_argument("--busy", type=float, default=Load.busy, help="of a core at the peak")
    parser.add_argument("--core_hour", type=float, default=Load.core_hour, help="US dollars")
    parser.add_argument("--gb_hour", type=float, default=Load.gb_hour, help="US dollars, of memory")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    given = {name: getattr(asked, name) for name in ("average", "busy", "core_hour", "gb_hour")}
    found = {rate: sized(Load(float(rate) * 1e6, **given)) for rate in asked.rates.split(",")}
    if asked.json:
        print(json.dumps(found))
        return
    print("| million events a minute | " + " | ".join(found) + " |")
    print("|---|" + "---:|" * len(found))
    for name in next(iter(found.values())):
        print(f"| {name} | " + " | ".join(f"{each[name]:,}" for each in found.values()) + " |")


if __name__ == "__main__":
    main()
