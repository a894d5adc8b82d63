"""Whether threads come on, and what they wait for."""

import threading
from collections.abc import Iterator

import pytest

from schemas.errors import Unavailable
from transforms import activity
from transforms.activity import Stall, away_since, is_outside, moves, outside
from transforms.io.clickhouse import Patience
from transforms.metrics import timed


@pytest.fixture(autouse=True)
def _nobody_away() -> Iterator[None]:
    yield
    activity._given_up.clear()


def test_what_does_not_come_on_stalls_until_it_does() -> None:
    stall = Stall(2.0)
    assert [stall.look(is_work=False) for _ in range(3)] == [2.0, 4.0, 6.0]
    moves["asked"] += 1
    assert stall.look(is_work=False) == 0.0, "an idle stream is asked again and again"
    assert stall.look(is_work=False) == 2.0


def test_a_runner_that_only_asks_for_more_does_not_work() -> None:
    stall = Stall(1.0)
    for second in (1.0, 2.0):
        moves["asked"] += 1
        assert stall.look(is_work=True) == second
    with timed("AnyStep"):
        pass
    assert stall.look(is_work=True) == 0.0


def test_who_waits_for_another_system_does_not_hang() -> None:
    stall = Stall(1.0)
    assert stall.look(is_work=True) == 1.0
    with outside():
        assert is_outside()
        assert [stall.look(is_work=True) for _ in range(100)] == [1.0] * 100, "nor does it come on"
    assert not is_outside()
    assert stall.look(is_work=True) == 2.0


def test_it_is_said_since_when_clickhouse_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000.0]
    monkeypatch.setattr(activity, "time", lambda: now[0])
    seen: list[float] = []

    def attempt() -> str:
        seen.append(away_since())
        now[0] += 5.0
        if len(seen) < 4:
            raise Unavailable("no route")
        return "there"

    assert Patience(sleep=lambda _: None).persist(attempt) == "there"
    assert seen == [0.0, 1_005.0, 1_005.0, 1_005.0], "from the first failure to the first success"
    assert away_since() == 0.0
    assert not is_outside()


def test_who_gives_up_leaves_word_until_somebody_gets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "time", lambda: 1_000.0)
    clock = iter([0.0, 1.0, 1.0, *[100.0] * 10])

    def attempt() -> None:
        raise Unavailable("no route")

    with pytest.raises(Unavailable):
        Patience(sleep=lambda _: None, clock=lambda: next(clock)).persist(attempt)
    assert away_since() == 1_000.0
    Patience().persist(lambda: None)
    assert away_since() == 0.0


def test_a_call_without_an_answer_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000.0]
    monkeypatch.setattr(activity, "time", lambda: now[0])
    with outside():
        now[0] += activity.LATE_SECONDS
        assert away_since() == 0.0
        now[0] += 1.0
        assert away_since() == 1_000.0
    assert away_since() == 0.0


def test_calls_of_many_threads_are_seen() -> None:
    inside, leave = threading.Barrier(9), threading.Event()

    def call() -> None:
        with outside():
            inside.wait(10)
            leave.wait(10)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    inside.wait(10)
    assert is_outside()
    leave.set()
    for thread in threads:
        thread.join()
    assert not is_outside()
