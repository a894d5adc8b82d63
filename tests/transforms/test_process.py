"""One of each in a process, whoever asks."""

import time
from concurrent.futures import ThreadPoolExecutor

from transforms.process import once_a_process


def test_threads_that_ask_at_once_get_the_same() -> None:
    made = []

    @once_a_process()
    def make(name: str) -> object:
        time.sleep(0.01)
        made.append(name)
        return object()

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda number: make("ab"[number % 2]), range(16)))
    assert sorted(made) == ["a", "b"]
    assert len(set(map(id, found))) == 2


def test_the_oldest_are_dropped_and_all_can_be() -> None:
    made = []
    make = once_a_process(2)(made.append)
    for number in (1, 2, 1, 3, 1, 2):
        make(number)
    assert made == [1, 2, 3, 2]
    make.cache_clear()
    make(1)
    assert made == [1, 2, 3, 2, 1]
