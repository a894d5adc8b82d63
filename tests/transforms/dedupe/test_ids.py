import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.dedupe import ids
from transforms.dedupe.ids import IdIndex, Run

KEYS = [bytes([high]) * 8 + bytes([low]) * 8 for high in range(6) for low in range(4)]  # halves often agree


def days_of(*days: int) -> ids.Days:
    return np.array(days, dtype=np.uint16)


@pytest.fixture(autouse=True)
def _small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "RECENT_KEYS", 3)
    monkeypatch.setattr(ids, "PLAIN_KEYS", 4)
    monkeypatch.setattr(ids, "CELL_KEYS", 2)


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 30)), max_size=60), st.integers(0, 9))
def test_index_agrees_with_a_plain_set(pairs: list[tuple[bytes, int]], within: int) -> None:
    index = IdIndex()
    model: set[tuple[bytes, int]] = set()
    for key, day in pairs:
        known = any(key == other and abs(day - its_day) <= within for other, its_day in model)
        assert bool(index.find([key], days_of(day), within)[0]) is known
        if not known:
            index.add([key], days_of(day))
            model.add((key, day))
        assert len(index) == len(model)


@given(st.lists(st.sampled_from(KEYS), unique=True), st.lists(st.sampled_from(KEYS), unique=True), st.integers(0, 3))
def test_extend_adds_each_key_of_a_day_once(first: list[bytes], second: list[bytes], day: int) -> None:
    index = IdIndex()
    index.extend(b"".join(first), day)
    index.extend(b"".join(second), day)
    assert sorted(ids_in(index.keys_of(day))) == sorted({*first, *second})
    assert len(index) == len({*first, *second})


def ids_in(keys: bytes) -> list[bytes]:
    return [keys[at : at + 16] for at in range(0, len(keys), 16)]


def test_forget_removes_days_and_nothing_else() -> None:
    index = IdIndex()
    for day in range(4):
        index.add(KEYS[day * 5 : day * 5 + 5], np.full(5, day, dtype=np.uint16))
    index.forget({1, 3})
    assert [len(index.keys_of(day)) // 16 for day in range(4)] == [5, 0, 5, 0]


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_the_grid_finds_the_place_that_searchsorted_finds(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(size)
    run = Run.of(b"".join(rng.randbytes(16) for _ in range(size)), np.zeros(size, dtype=np.uint16))
    queries = np.sort(np.concatenate((run.high, np.array([0, 2**64 - 1, *(rng.getrandbits(64) for _ in range(200))], dtype=np.uint64))))
    assert (run._search(queries) == np.searchsorted(run.high, queries)).all()


def test_the_grid_bears_keys_that_all_start_alike() -> None:
    """Keys are hashes; but one that is not spread may be slow, never wrong."""
    keys = [b"\0" * 8 + number.to_bytes(8, "little") for number in range(100)]
    run = Run.of(b"".join(keys), np.zeros(100, dtype=np.uint16))
    high, low = ids.halves(keys[57] + b"\0" * 8 + b"\xff" * 8)
    assert run.find(high, low, days_of(0, 0), 0).tolist() == [True, False]
