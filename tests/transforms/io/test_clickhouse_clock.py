"""ClickHouse's clock in between two questions."""

from typing import Any

from transforms.io.clickhouse.clock import MEASURE_SECONDS, ServerClock


class Server:
    def __init__(self) -> None:
        self.micros, self.heard, self.asked = 1_000_000_000, 0, 0

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        self.asked += 1
        return [(self.micros, 0, self.heard)]


def test_time_goes_on_between_two_questions_and_a_jump_is_seen_at_the_next() -> None:
    server, seconds = Server(), [50.0]
    clock = ServerClock(server, lambda: seconds[0])
    assert clock.now() == 1_000_000_000
    seconds[0] += 1.5
    assert (clock.now(), server.asked) == (1_001_500_000, 1)
    server.micros += 86_400_000_000
    seconds[0] += MEASURE_SECONDS
    assert (clock.now(), server.asked) == (87_401_000_000 - 1_000_000, 2)


def test_time_stands_still_while_the_clock_is_behind_what_was_heard() -> None:
    server, seconds = Server(), [50.0]
    clock = ServerClock(server, lambda: seconds[0])
    before = clock.now()
    server.heard, server.micros = before, before - 3_600_000_000
    seconds[0] += MEASURE_SECONDS
    assert clock.now() == before
