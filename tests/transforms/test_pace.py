"""Work that is held back to a rate."""

import pytest

from transforms.pace import Pace, at_once


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def time(self) -> float:
        return self.now


def test_a_rate_is_kept_however_long_the_work_takes() -> None:
    clock = Clock()
    pace = Pace(10, clock.time, clock.sleep)
    for done in range(0, 101, 10):
        clock.now += 0.3
        pace.wait(done)
    assert clock.now == pytest.approx(110.0)


def test_what_is_late_does_not_wait() -> None:
    clock = Clock()
    pace = Pace(10, clock.time, clock.sleep)
    clock.now += 60
    pace.wait(100)
    assert clock.now == 160


def test_without_a_rate_nothing_waits() -> None:
    clock = Clock()
    Pace(None, clock.time, clock.sleep).wait(1_000_000)
    assert clock.now == 100


@pytest.mark.parametrize(("rate", "expected"), [(None, 500), (0.01, 1), (30, 60), (1e9, 500)])
def test_how_many_go_together(rate: float | None, expected: int) -> None:
    assert at_once(rate, 2.0, 500) == expected
