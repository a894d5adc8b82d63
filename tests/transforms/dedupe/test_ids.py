import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.dedupe import ids
from transforms.dedupe.ids import IdIndex, Run, Sieve

# First halves, second halves and first bits often agree; the last ones lie at the other end of the grid.
KEYS = [bytes([high]) * 8 + bytes([low]) * 8 for high in (0, 1, 2, 3, 4, 255) for low in range(4)]
DAYS = st.integers(0, 30) | st.sampled_from([255, 256, 300, 20_000, 65_535])  # more than a byte apart, too
SOME_KEYS = st.lists(st.sampled_from(KEYS), unique=True)
STEPS = st.one_of(
    st.tuples(st.just("add"), SOME_KEYS, DAYS),
    st.tuples(st.just("extend"), SOME_KEYS, DAYS),
    st.tuples(st.just("forget"), st.sets(DAYS, max_size=4), st.just(0)),
)


def days_of(*days: int) -> ids.Days:
    return np.array(days, dtype=np.uint16)


def ids_in(keys: bytes) -> list[bytes]:
    return [keys[at : at + 16] for at in range(0, len(keys), 16)]


def random_keys(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(16 * size)


def run_of(keys: bytes, day: int = 0) -> Run:
    return Run.of(keys, np.full(len(keys) // 16, day, dtype=np.uint16))


def known(index: IdIndex, keys: list[bytes], day: int, within: int) -> list[bool]:
    found: list[bool] = index.find(keys, days_of(*[day] * len(keys)), within).tolist()
    return found


@pytest.fixture(autouse=True)
def _small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "RECENT_KEYS", 3)
    monkeypatch.setattr(ids, "CELL_KEYS", 2)
    monkeypatch.setattr(ids, "SLICE_KEYS", 4)
    monkeypatch.setattr(ids, "PAGED_BYTES", 16)


@given(st.lists(st.tuples(st.sampled_from(KEYS), DAYS), max_size=60), st.integers(0, 9))
def test_index_agrees_with_a_plain_set(pairs: list[tuple[bytes, int]], within: int) -> None:
    index = IdIndex()
    model: set[tuple[bytes, int]] = set()
    for key, day in pairs:
        is_known = any(key == other and abs(day - its_day) <= within for other, its_day in model)
        assert known(index, [key], day, within) == [is_known]
        if not is_known:
            index.add([key], days_of(day))
            model.add((key, day))
        assert len(index) == len(model)


@given(st.lists(STEPS, max_size=20), st.sampled_from([0, 7, 255, 65_535]))
def test_index_agrees_with_a_plain_set_whatever_is_done_to_it(steps: list[tuple[str, list[bytes], int]], within: int) -> None:
    index = IdIndex()
    model: set[tuple[bytes, int]] = set()
    for step, some, day in steps:
        match step:
            case "add":
                fresh = [key for key in some if (key, day) not in model]
                index.add(fresh, days_of(*[day] * len(fresh)))
                model |= {(key, day) for key in fresh}
            case "extend":
                index.extend(b"".join(some), day)
                model |= {(key, day) for key in some}
            case "forget":
                index.forget(some)  # days
                model = {(key, its_day) for key, its_day in model if its_day not in some}
    assert len(index) == len(model)
    for day in {0, 260, *(day for _, day in model)}:
        assert sorted(ids_in(index.keys_of(day))) == sorted(key for key, its_day in model if its_day == day)
        near = {key for key, its_day in model if abs(its_day - day) <= within}
        assert known(index, KEYS, day, within) == [key in near for key in KEYS]


@given(SOME_KEYS, SOME_KEYS, st.integers(0, 3))
def test_extend_adds_each_key_of_a_day_once(first: list[bytes], second: list[bytes], day: int) -> None:
    index = IdIndex()
    index.extend(b"".join(first), day)
    index.extend(b"".join(second), day)
    assert sorted(ids_in(index.keys_of(day))) == sorted({*first, *second})
    assert len(index) == len({*first, *second})


def test_forget_removes_days_and_nothing_else() -> None:
    index = IdIndex()
    for day in range(4):
        index.add(KEYS[day * 5 : day * 5 + 5], np.full(5, day, dtype=np.uint16))
    index.forget({1, 3})
    assert [len(index.keys_of(day)) // 16 for day in range(4)] == [5, 0, 5, 0]


def test_a_key_of_many_days_is_found_on_each() -> None:
    index = IdIndex()
    for day in (5, 300, 40_000):
        index.extend(KEYS[0] + KEYS[1], day)
    assert [known(index, [KEYS[1]], day, 2) for day in (2, 3, 302, 303, 39_998)] == [[False], [True], [True], [False], [True]]


@pytest.mark.parametrize("sizes", [[1], [5, 1], [1000], [3000, 800, 1, 100]])
def test_a_merged_run_holds_the_keys_of_all_in_order(sizes: list[int]) -> None:
    parts = [random_keys(number, size) for number, size in enumerate(sizes)]
    run = Run.merge([run_of(part, day=number) for number, part in enumerate(parts)])
    assert (run.high[:-1] <= run.high[1:]).all()
    for number, part in enumerate(parts):
        high, low = ids.halves(part)
        assert sorted(run.find(high, low, days_of(*[number] * len(high)), 0)) == list(range(len(high)))
        assert not len(run.find(high, low + np.uint64(1), days_of(*[number] * len(high)), 0))
        assert not len(run.find(high + np.uint64(1), low, days_of(*[number] * len(high)), 0))
        assert not len(run.find(high, low, days_of(*[number + 1] * len(high)), 0))


def test_runs_that_were_merged_hold_no_memory() -> None:
    """What is taken away from a mapping reads as zeros."""
    large, small = run_of(random_keys(1, 10_000)), run_of(random_keys(2, 3000))
    merged = Run.merge([large, small])
    assert len(merged) == 13_000
    assert merged.high.all()
    pages = 10_000 // 4096 * 4096  # as keys: the last page may be in use by a part
    assert not any(column[:pages].any() for column in (large.high, large.low))


def test_days_take_a_byte_while_they_span_a_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    def width(index: IdIndex) -> list[int]:
        return [run._offsets.itemsize for run in index._runs]

    monkeypatch.setattr(ids, "GROWTH", 1000)  # one run
    index = IdIndex()
    index.extend(KEYS[0], 20_000)
    index.extend(KEYS[1], 20_255)
    assert width(index) == [1]
    index.extend(KEYS[2], 20_256)
    assert width(index) == [2]
    index.forget({20_000})
    index.extend(KEYS[3], 20_510)
    assert width(index) == [1]


def test_the_grid_bears_keys_that_all_start_alike() -> None:
    """Keys are hashes; but one that is not spread may be slow, never wrong."""
    keys = [b"\0" * 8 + number.to_bytes(8, "little") for number in range(100)]
    run = run_of(b"".join(keys))
    high, low = ids.halves(keys[57] + b"\0" * 8 + b"\xff" * 8)
    assert run.find(high, low, days_of(0, 0), 0).tolist() == [0]


def test_a_sieve_passes_all_it_holds_and_few_others() -> None:
    sieve = Sieve(10_000)
    held, others = (ids.halves(random_keys(seed, 10_000))[0] for seed in (1, 2))
    sieve.add(held)
    assert len(sieve.passes(held)) == 10_000
    assert len(sieve.passes(others)) < 10_000 / ids.SIEVE_BITS


def test_a_sieve_grows_with_its_index() -> None:
    index = IdIndex()
    index.extend(random_keys(1, 5000), 0)
    index.extend(random_keys(2, 5000), 0)
    assert index._sieve.room >= len(index) == 10_000
    index.forget({0})
    assert index._sieve.room < 10
