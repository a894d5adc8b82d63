"""A fetcher hands out receipts, acknowledges what is complete, and goes back when its reader does."""

from collections import deque
from collections.abc import Iterator, Sequence
from time import monotonic, sleep

import pytest

from schemas.errors import Unavailable
from schemas.message import Messages
from transforms.io.streams import fetcher as module
from transforms.io.streams.fetcher import Fetcher, Limits, Mark, Read
from transforms.metrics import Lag


class Table:
    """What is complete: told by this process, and stored by others."""

    def __init__(self) -> None:
        self.here: set[int] = set()
        self.elsewhere: set[int] = set()

    def told(self, receipts: Sequence[int]) -> list[int]:
        return [receipt for receipt in receipts if receipt in self.here]

    def stored(self, receipts: Sequence[int]) -> list[int]:
        return [receipt for receipt in receipts if receipt in self.elsewhere]


class Queue(Fetcher[int]):
    """A broker in memory: numbers, one a receipt, which is the number plus 100."""

    def __init__(self, table: Table, numbers: int = 10, **limits: float) -> None:
        self.ready = deque(range(numbers))
        self.acknowledged: list[int] = []
        self.closed = False
        super().__init__("queue", table, Limits(**limits))  # type: ignore[arg-type]

    def _read(self) -> Read[int] | None:
        if not self.ready:
            return None
        number = self.ready.popleft()
        return Read(Messages(number + 100, "queue", [b"x"], [number], 0), number)

    def _acknowledge(self, done: Sequence[tuple[int, int]]) -> None:
        self.acknowledged += [what for _, what in done]

    def _give_back(self, dropped: Sequence[int]) -> None:
        self.ready.extendleft(sorted(dropped, reverse=True))

    def _lag(self) -> Lag:
        return Lag(len(self.ready), 0.0, self.in_flight)

    def _disconnect(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TEND_SECONDS", "ASK_SECONDS", "ASK_AGE_SECONDS"):
        monkeypatch.setattr(module, name, 0.001)


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def queue(table: Table) -> Iterator[Queue]:
    found = Queue(table)
    yield found
    found.close()


class Reader:
    """What Beam's reader does with a fetcher."""

    def __init__(self, queue: Queue, mark: Mark | None = None) -> None:
        self._queue = queue
        self.mark = mark or Mark()

    def read(self) -> int | None:
        found = self._queue.poll(self.mark)
        if found is None:
            return None
        messages, self.mark = found
        return messages.offsets[0]

    def read_many(self, count: int) -> list[int | None]:
        return [self.read() for _ in range(count)]


def until(condition: object) -> None:
    """Wait for the fetcher's thread."""
    deadline = monotonic() + 10
    while not condition():  # type: ignore[operator]
        assert monotonic() < deadline
        sleep(0.001)


def test_it_hands_out_in_order_and_then_nothing(queue: Queue) -> None:
    assert Reader(queue).read_many(11) == [*range(10), None]


def test_readers_come_and_go(queue: Queue) -> None:
    first = Reader(queue)
    assert first.read_many(3) == [0, 1, 2]
    assert Reader(queue, first.mark).read_many(2) == [3, 4]


def test_it_acknowledges_what_is_complete_and_nothing_else(queue: Queue, table: Table) -> None:
    Reader(queue).read_many(4)
    table.here |= {101}
    until(lambda: queue.acknowledged == [1])
    table.elsewhere |= {103}
    until(lambda: queue.acknowledged == [1, 3])
    assert queue.in_flight == 2


def test_a_reader_that_went_back_gets_again_what_is_not_complete(queue: Queue, table: Table) -> None:
    reader = Reader(queue)
    reader.read_many(2)
    checkpoint = reader.mark
    reader.read_many(4)
    table.here |= {103}
    until(lambda: queue.acknowledged == [3])
    assert Reader(queue, checkpoint).read_many(4) == [2, 4, 5, 6]
    assert queue.in_flight == 6


def test_a_reader_of_another_process_gets_all_that_is_not_complete(queue: Queue, table: Table) -> None:
    Reader(queue).read_many(3)
    table.here |= {100}
    until(lambda: queue.acknowledged == [0])
    assert Reader(queue, Mark(77, 9)).read_many(3) == [1, 2, 3]


def test_a_new_fetcher_takes_any_mark(table: Table) -> None:
    queue = Queue(table)
    assert Reader(queue, Mark(77, 9)).read() == 0
    queue.close()


def test_a_reader_that_went_back_twice_does_not_mistake_one_time_for_the_other(queue: Queue) -> None:
    reader = Reader(queue)
    reader.read_many(3)
    old = reader.mark
    assert Reader(queue).read_many(3) == [0, 1, 2]
    assert Reader(queue, old).read() == 0


def test_no_more_than_so_many_are_in_flight(table: Table) -> None:
    queue = Queue(table, in_flight=2)
    reader = Reader(queue)
    assert reader.read_many(3) == [0, 1, None]
    table.here |= {100}
    until(lambda: queue.in_flight == 1)
    assert reader.read_many(2) == [2, None]
    queue.close()


def test_any_number_may_be_in_flight_where_the_runner_holds_back(table: Table) -> None:
    queue = Queue(table, numbers=100, in_flight=0)
    assert Reader(queue).read_many(100) == list(range(100))
    queue.close()


def test_a_receipt_that_is_not_completed_in_time_fails_the_next_poll(table: Table) -> None:
    queue = Queue(table, numbers=1, timeout=0.01)
    reader = Reader(queue)
    reader.read()
    with pytest.raises(Unavailable, match="queue: 1 receipts were not completed in 0 s"):
        until(lambda: reader.read() and False)
    queue.close()


def test_closing_acknowledges_what_is_complete_and_gives_back_the_rest(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TEND_SECONDS", 60)
    queue = Queue(table)
    Reader(queue).read_many(3)
    table.here |= {101}
    queue.close()
    assert (queue.acknowledged, list(queue.ready)[:3], queue.closed) == ([1], [0, 2, 3], True)


def test_it_stops_reading_and_goes_on_acknowledging(queue: Queue, table: Table) -> None:
    reader = Reader(queue)
    reader.read_many(2)
    queue.stop_reading()
    assert reader.read() is None
    table.here |= {100, 101}
    until(lambda: queue.in_flight == 0)
