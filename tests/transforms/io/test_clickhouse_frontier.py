"""The frontier: no row appears below it, and it moves on, whatever inserts do; on an engine that runs statements side by side."""

import random
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from chdb.session import Session

from transforms.io.clickhouse import native
from transforms.io.clickhouse.frontier import Frontier, Moment, frontier


class Engine:
    """A session of the embedded engine, whose statements run beside those of others."""

    def __init__(self, path: Path) -> None:
        self._session = Session(str(path))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        _, columns = native.decode(bytes(self._session.query(sql, "Native").bytes()), text=True)
        return list(zip(*columns, strict=True))

    def close(self) -> None:
        self._session.close()


TABLES = (
    "CREATE TABLE events (number UInt64, inserted_at DateTime64(6, 'UTC') DEFAULT now64(6)) ENGINE = MergeTree ORDER BY number",
    "CREATE TABLE listed (number UInt64, inserted_at DateTime64(6, 'UTC')) ENGINE = MergeTree ORDER BY number",
    # 3 ms a row; a row of the number 7 ends the insert in an error
    "CREATE MATERIALIZED VIEW listed_mv TO listed AS SELECT number, inserted_at FROM events"
    " WHERE sleepEachRow(0.003) = 0 AND throwIf(number = 7) = 0",
    "CREATE TABLE verifications (verified DateTime64(6, 'UTC')) ENGINE = MergeTree ORDER BY verified",
    "CREATE TABLE runs (last_written DateTime64(6, 'UTC')) ENGINE = MergeTree ORDER BY last_written",
)


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[list[Engine]]:
    engines = [Engine(tmp_path / "db") for _ in range(4)]
    for sql in TABLES:
        engines[0].rows(sql)
    yield engines
    for engine in engines:
        engine.close()


def test_no_row_appears_below_the_frontier_and_it_moves_on(engines: list[Engine]) -> None:
    looker, *writers = engines
    done = threading.Event()

    def write(engine: Engine, rng: random.Random) -> None:
        while not done.is_set():
            first = rng.choice([7, 1_000, 2_000])
            blocks = rng.choice(["max_block_size = 1, min_insert_block_size_rows = 1", "max_threads = 1"])
            with suppress(RuntimeError):  # of a view: the insert ends half-way
                engine.rows(f"INSERT INTO events (number) SELECT {first} + number FROM numbers({rng.randrange(1, 40)}) SETTINGS {blocks}")

    threads = [threading.Thread(target=write, args=(engine, random.Random(seed))) for seed, engine in enumerate(writers)]
    for thread in threads:
        thread.start()
    try:
        seen: list[tuple[int, tuple[int, ...]]] = []
        while len(seen) < 60 or not seen[-1][1][0]:
            found = frontier(looker).moment
            seen.append((found, below(looker, found)))
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert all(below(looker, moment) == rows for moment, rows in seen), "a row appeared below the frontier"
    assert seen[-1][0] > seen[0][0], "it moves on"
    assert seen[-1][1][0] > 0
    assert frontier(looker).running == 0


def below(engine: Engine, moment: int) -> tuple[int, ...]:
    where = f"WHERE inserted_at < fromUnixTimestamp64Micro({moment})"
    return tuple(engine.rows(f"SELECT count() FROM {table} {where}")[0][0] for table in ("events", "listed"))


class Clock:
    """What a server with a clock of its own answers."""

    def __init__(self, clock: int, verified: int, heard: int, running: int = 0, elapsed: int = 0) -> None:
        self.answers = [[(clock, verified, heard)], [(running, elapsed)]]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.answers.pop(0)


@pytest.mark.parametrize(
    ("clock", "moment", "moves"),
    [
        (Clock(1000, 500, 900), 1000, True),
        (Clock(1000, 500, 900, running=1, elapsed=99), 900, True),
        (Clock(1000, 500, 900, running=1, elapsed=700), 500, False),  # an insert that hangs
        (Clock(400, 500, 900), 900, True),  # the clock was set back: whoever inserts next stamps its rows with 900
        (Clock(400, 500, 900, running=2, elapsed=10), 500, False),
    ],
)
def test_the_frontier_stands_still_rather_than_lie(clock: Clock, moment: int, moves: bool) -> None:
    found = frontier(clock)
    assert (found.moment, found.moves) == (moment, moves)
    assert isinstance(found, Frontier)


def test_the_time_of_rows_never_goes_back() -> None:
    assert Moment(1000, 500, 900).now == 1000
    assert (Moment(400, 500, 900).now, Moment(400, 500, 900).is_behind) == (900, True)
