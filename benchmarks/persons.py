"""What persons cost: CPU microseconds an event, and bytes a person. `python -m benchmarks.persons [--events 1000000]`.

Of the events, 1 in 50 is an `$identify`, 1 in 25 has a `$set`, 1 in 5 has app properties, 1 in 5 is personless; distinct ids come by
Zipf's law. Memory is that of a process of its own for each kind of person.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np

from schemas.event import Batch, Event, PersonMode
from schemas.persons import Fact, Kind, person_id
from transforms.persons.apply import apply_properties
from transforms.persons.known import KnownIds, KnownPersons
from transforms.persons.resolve import resolve
from transforms.persons.shards import split_by_id, split_by_person

BATCH = 4_000
START = 1_795_000_000_000_000
APP = (25, b'"4.2.0"', 26, b'"Shop"', 28, b'"4.2"')  # build, name, version: places in COPIED
SET = ((Kind.SET, "plan", b'"pro"'), (Kind.SET, "logins", b"17"), (Kind.ONCE, "signed_up", b'"2026-10-01"'))


def _events(batch: int, ids: int, rng: np.random.Generator) -> list[Event]:
    """Return events as ParseEvents leaves them."""
    whose = (
        np.minimum((rng.pareto(0.7, BATCH) * ids / 1000).astype(np.int64), ids - 1) if batch * BATCH > ids else rng.integers(0, ids, BATCH)
    )
    events = []
    for place, number in enumerate(whose.tolist()):
        n = batch * BATCH + place
        time_ = START + n * 1000
        uuid = n.to_bytes(16)
        who = f"01a05920-4837-7074-aebb-{number:012x}"
        event = Event(1 + number % 10, uuid, "$pageview", who, time_, time_, b"{}", "", False, PersonMode.FULL, 7, n, 0)
        if n % 5 == 1:
            event.person_mode = PersonMode.PROPERTYLESS
        elif n % 50 == 2:
            target = f"user-{number // 2}"
            event.distinct_id = target
            mine, theirs = person_id(event.team_id, target), person_id(event.team_id, who)
            event.person_id = mine
            event.facts = (
                Fact(event.team_id, target, Kind.IDENTIFIED, "", -time_, bytes(16), b"", mine),
                Fact(event.team_id, who, Kind.LINK, "", -time_, uuid, target.encode(), theirs),
            )
        elif n % 25 == 3:
            mine = event.person_id = person_id(event.team_id, who)
            event.facts = tuple(
                Fact(event.team_id, who, kind, key, time_ if kind == Kind.SET else -time_, uuid, value, mine) for kind, key, value in SET
            )
        elif n % 5 == 4:
            event.copied = APP
        events.append(event)
    return events


def _ignore(*_: object) -> None:
    """Take a warning."""


class _Steps:
    def __init__(self) -> None:
        self.ids, self.persons = KnownIds(), KnownPersons()

    def run(self, batch: Batch) -> Iterator[Batch]:
        for _, part in split_by_id(batch, 1):
            for _, complete in split_by_person(resolve(self.ids, part, _ignore, _ignore), 1):
                yield apply_properties(self.persons, complete, _ignore)


def _cost(events: int, ids: int) -> float:
    """Return CPU microseconds an event, the second half of the events counted: the ids are known by then."""
    rng, steps, taken = np.random.default_rng(1), _Steps(), 0.0
    batches = max(1, ids // BATCH) + events // BATCH
    for number in range(batches):
        batch = Batch(_events(number, ids, rng))
        began = time.process_time()
        for _ in steps.run(batch):
            pass
        if number >= batches - events // BATCH:
            taken += time.process_time() - began
    return taken / (events // BATCH * BATCH) * 1e6


def _resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _weight(persons: int, with_properties: bool) -> float:
    """Return bytes of memory a person: anonymous ids, or identified persons with five short properties."""
    steps = _Steps()
    for _ in steps.run(Batch([])):
        pass
    before = _resident()
    for start in range(0, persons, BATCH):
        events = []
        for number in range(start, start + BATCH):
            who = f"01a05920-4837-7074-aebb-{number:012x}"
            event = Event(1, number.to_bytes(16), "$set", who, START, START, b"{}", "", False, PersonMode.FULL, 7, number, 0)
            if with_properties:
                mine = event.person_id = person_id(1, who)
                values = {"email": b'"%d@x.io"' % number, "plan": b'"pro"', "role": b'"admin"', "logins": b"17", "beta": b"true"}
                event.facts = (
                    Fact(1, who, Kind.IDENTIFIED, "", -START, bytes(16), b"", mine),
                    *(Fact(1, who, Kind.SET, key, START, event.uuid, value, mine) for key, value in values.items()),
                )
            events.append(event)
        for _ in steps.run(Batch(events)):
            pass
    events.clear()
    return (_resident() - before) / persons


def _alone(*arguments: object) -> float:
    command = [sys.executable, "-m", "benchmarks.persons", "--only", json.dumps(arguments)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def figures(events: int, persons: int) -> str:
    """Return a table of what both steps cost an event, and what a person weighs.

    Args:
        events: how many are counted.
        persons: how many are known; and a tenth of them.
    """
    few = persons // 10
    cost = {ids: _alone("cost", events, ids) for ids in (few, persons)}
    return "\n".join(
        [
            "| both person steps | |",
            "|---|---:|",
            f"| CPU us an event, {few:,} distinct ids | {cost[few]:.2f} |",
            f"| CPU us an event, {persons:,} distinct ids | {cost[persons]:.2f} |",
            f"| bytes an anonymous id without properties | {_alone('weight', persons, False):.0f} |",
            f"| bytes a person with five short properties | {_alone('weight', persons, True):.0f} |",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--persons", type=int, default=1_000_000)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only:
        what, *arguments = json.loads(asked.only)
        print({"cost": _cost, "weight": _weight}[what](*arguments))
    else:
        print(figures(asked.events, asked.persons))


if __name__ == "__main__":
    main()
