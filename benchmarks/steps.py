"""What each step of the whole path costs by itself, without a runner: `python -m benchmarks.steps [--events 100000 1000000] [--json]`.

The same functions that the transforms call, on the same batches, one after the other in one process; CPU microseconds an event, medians of
several rounds. What a runner adds (queues, state, coders between steps) is the difference to the whole path in `make bench`; the coder's
own cost is a row here.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa

from pipelines.generate import Plan, generate
from pipelines.ingest import BATCH_SIZE
from pipelines.store import MAX_ROWS
from runners.tuning import tuned
from schemas.event import Batch
from schemas.message import Messages
from schemas.persons import PROPERTIES
from transforms.coders import BatchCoder
from transforms.dedupe.filter import DuplicateFilter
from transforms.dedupe.shards import split
from transforms.io.clickhouse import close_all, shared
from transforms.io.migrate import migrate
from transforms.io.registry import registry_source
from transforms.limits.quotas import Quotas
from transforms.limits.rules import Limiter
from transforms.limits.usage import Usage
from transforms.one_process import Cell
from transforms.parse.rules import parse_messages
from transforms.persons.apply import apply_properties
from transforms.persons.known import KnownIds, KnownPersons
from transforms.persons.resolve import resolve
from transforms.persons.shards import split_by_id, split_by_person
from transforms.sink.event_ids import EventIds
from transforms.sink.rows import event_rows, fact_rows, stored_reports

ROUNDS = 5


class Steps:
    """CPU seconds by step."""

    def __init__(self) -> None:
        self.taken: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the CPU time of a block to a step."""
        began = time.process_time()
        yield
        self.taken[name] = self.taken.get(name, 0.0) + time.process_time() - began


def messages_in(files: list[str]) -> Iterator[Messages]:
    """Yield the lines of files as `ReadFiles` does."""
    receipt = 0
    for file in files:
        lines = Path(file).read_bytes().splitlines()
        for start in range(0, len(lines), BATCH_SIZE):
            part = lines[start : start + BATCH_SIZE]
            receipt += 1
            yield Messages(receipt, "file", part, list(range(start, start + len(part))), time.time_ns() // 1000)


def one_round(files: list[str], teams: str, folder: str) -> tuple[dict[str, float], int]:
    """Return CPU seconds by step, and how many events there were."""
    sink = f"chdb:{folder}"
    client = shared(sink)
    migrate(client)
    registry, limiter = registry_source(teams).current(), Limiter(Quotas(Usage(client), 5.0))
    filter_, head = DuplicateFilter(1, EventIds(client, UUID(int=1)), log=False), Cell()
    ids, persons, coder, steps = KnownIds(), KnownPersons(), BatchCoder(Batch), Steps()
    rows: list[pa.Table] = []
    facts: list[Any] = []
    events = 0

    def nothing(*_: Any) -> None:
        pass

    def insert() -> None:
        with steps.timed("insert events"):
            table = pa.concat_tables(rows).combine_chunks()
            client.insert("events", table)
        with steps.timed("reports"):
            stored_reports(table)
        with steps.timed("rows of facts"):
            tables = [("person_properties", fact_rows([fact for fact in facts if fact.kind in PROPERTIES]))]
            tables.append(("person_links", fact_rows([fact for fact in facts if fact.kind not in PROPERTIES])))
        with steps.timed("insert facts"):
            for name, block in tables:
                client.insert(name, block)
        rows.clear()
        facts.clear()

    for messages in messages_in(files):
        with steps.timed("parse"):
            batch, _ = parse_messages(messages, registry)
        events += len(batch.events)
        with steps.timed("limit"):
            batch = limiter.enforce(batch, registry, 0.0)
        with steps.timed("split by distinct id"):
            ((_, batch),) = split_by_id(batch, 1)
        batch = _over_a_runner(steps, coder, batch)
        with steps.timed("resolve persons"):
            batch = resolve(ids, batch, nothing, nothing)
        with steps.timed("split by person"):
            ((_, batch),) = split_by_person(batch, 1)
        batch = _over_a_runner(steps, coder, batch)
        with steps.timed("apply person properties"):
            batch = apply_properties(persons, batch, nothing)
        with steps.timed("split by key"):
            ((_, batch),) = split(batch, 1)
        batch = _over_a_runner(steps, coder, batch)
        with steps.timed("deduplicate"):
            verdicts = filter_.judge(0, batch.events, batch.keys, time.time_ns() // 1000, head, ())
        with steps.timed("rows of events"):
            rows.append(event_rows([batch.events[place] for place in verdicts.new]))
        with steps.timed("collect facts"):
            facts += [fact for event in batch.events if event.facts for fact in event.facts]
        if sum(each.num_rows for each in rows) >= MAX_ROWS:
            insert()
    insert()
    return steps.taken, events


def _over_a_runner(steps: Steps, coder: BatchCoder, batch: Batch) -> Batch:
    with steps.timed("encode, three times"):
        encoded = coder.encode(batch)
    with steps.timed("decode, three times"):
        decoded: Batch = coder.decode(encoded)
    return decoded


def measure(events: int, rounds: int) -> dict[str, float]:
    """Return the median CPU microseconds an event of each step."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        generate(Plan(events=events, out=folder, shape="event", invalid=0))
        files = sorted(map(str, Path(folder).glob("events-*")))
        for number in range(rounds):
            with tuned():
                taken, count = one_round(files, f"{folder}/teams.toml", f"{folder}/db{number}")
            close_all()
            for name, seconds in taken.items():
                found.setdefault(name, []).append(seconds / count * 1e6)
    return {name: statistics.median(each) for name, each in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[200_000], help="how many; with several numbers, how costs grow")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true", help="print one JSON object: by number of events, by step")
    asked = parser.parse_args()
    found = {events: measure(events, asked.rounds) for events in asked.events}
    if asked.json:
        print(json.dumps(found))
        return
    print(f"{'CPU us an event, of':<26}" + "".join(f"{events:>13,}" for events in found))
    for name in [*found[asked.events[0]], "all"]:
        print(f"{name:<26}" + "".join(f"{costs.get(name, sum(costs.values())):13.2f}" for costs in found.values()))


if __name__ == "__main__":
    main()
