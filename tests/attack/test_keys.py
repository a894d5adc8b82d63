"""Keys that a client made up to begin or end alike: they are found as fast as others (attack B4)."""

import random
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.attack.cpu import cpu_limit
from transforms.dedupe import ids
from transforms.dedupe.ids import IdIndex, Run
from transforms.state.key_table import KEY_BYTES, KeyTable

MANY = 40_000
BATCH = 1_000
MIB = 1 << 20
# 14 bits take three minutes of a core, and 60 more than anybody has: they are tried all the same.
ALIKE = [0, 14, 32, 63, 64, 100]


def keys_alike(bits: int, many: int, seed: int = 1) -> list[bytes]:
    """Return different keys that have so many bits in common: the first as the index sorts them, which is by two little-endian halves."""
    rng, shared = random.Random(seed), random.Random(0).getrandbits(128)
    keys = set[int]()
    while len(keys) < many:
        keys.add(shared >> 128 - bits << 128 - bits | rng.getrandbits(128 - bits) if bits else rng.getrandbits(128))
    return [(key >> 64).to_bytes(8, "little") + (key & 2**64 - 1).to_bytes(8, "little") for key in keys]


@contextmanager
def memory_limit(bytes_: int) -> Iterator[None]:
    """Raise if more memory than that is held in the block at once, beside what there was."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < bytes_
    finally:
        tracemalloc.stop()


def days(keys: list[bytes], day: int = 20_000) -> ids.Days:
    return np.full(len(keys), day, np.uint16)


def judge(index: IdIndex, keys: list[bytes]) -> list[bool]:
    """Return which keys are known, batch by batch, and add the others, as the filter does."""
    known = []
    for start in range(0, len(keys), BATCH):
        some = keys[start : start + BATCH]
        found = index.find(some, days(some), 7)
        known += found.tolist()
        new = [key for key, is_known in zip(some, found.tolist(), strict=True) if not is_known]
        index.add(new, days(new))
    return known


def extended(keys: list[bytes]) -> IdIndex:
    index = IdIndex()
    index.extend(b"".join(keys[: MANY // 2]), 20_000)
    index.extend(b"".join(keys), 20_000)
    return index


@pytest.mark.parametrize("bits", ALIKE)
def test_keys_that_begin_alike_are_judged_in_linear_time_and_memory(bits: int) -> None:
    keys, index = keys_alike(bits, MANY), IdIndex()
    with cpu_limit(3), memory_limit(30 * MIB):
        assert not any(judge(index, keys))
        assert all(judge(index, keys))
        assert not any(judge(index, keys_alike(bits, BATCH, seed=2)))


@pytest.mark.parametrize("bits", ALIKE)
def test_keys_that_begin_alike_are_read_back_in_linear_time_and_memory(bits: int) -> None:
    """What others have stored, at each look; all of a shard's at a start."""
    keys = keys_alike(bits, MANY)
    with cpu_limit(3), memory_limit(30 * MIB):
        index = extended(keys)
        assert len(index) == MANY
        assert index.find(keys, days(keys), 7).all()  # in one batch


FEW_HALVES = st.sampled_from([0, 1, 2, 2**63, 2**64 - 1])
SOME = st.lists(st.tuples(FEW_HALVES, FEW_HALVES | st.integers(0, 200)), max_size=150, unique=True)


@given(SOME, SOME, st.integers(0, 3))
def test_keys_with_equal_halves_are_told_apart(some: list[tuple[int, int]], others: list[tuple[int, int]], cell: int) -> None:
    def packed(pairs: list[tuple[int, int]]) -> list[bytes]:
        return [high.to_bytes(8, "little") + low.to_bytes(8, "little") for high, low in pairs]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ids, "LONG_CELL", cell)
        patched.setattr(ids, "SLICE_KEYS", 7)
        index = IdIndex()
        for part in (some[::2], some[1::2]):
            index.extend(b"".join(packed(part)), 20_000)
        asked = packed([*some, *others])
        assert index.find(asked, days(asked), 0).tolist() == [pair in some for pair in [*some, *others]]


def test_a_run_is_sorted_by_all_bits_also_when_it_is_merged() -> None:
    parts = [keys_alike(64, 500, seed) + keys_alike(3, 500, seed) for seed in (1, 2)]
    runs = [Run.of(b"".join(part), days(part)) for part in parts]
    for run in (*runs, Run.merge(runs)):
        pairs = list(zip(run.high.tolist(), run.low.tolist(), strict=True))
        assert len(pairs) in (1_000, 2_000)
        assert pairs == sorted(pairs)


def ending_alike(bits: int) -> list[bytes]:
    """Return keys whose last bits, of the second half as of the whole, are the same."""
    rng = random.Random(1)
    return [rng.randbytes(8) + (rng.getrandbits(64) >> bits << bits).to_bytes(8) for _ in range(MANY)]


def beginning_alike(bits: int) -> list[bytes]:
    """Return keys whose first bits of the second half are the same."""
    rng = random.Random(1)
    return [rng.randbytes(8) + (rng.getrandbits(64) >> bits).to_bytes(8) for _ in range(MANY)]


@pytest.mark.parametrize("alike", [ending_alike, beginning_alike])
@pytest.mark.parametrize("bits", [0, 20, 40])
def test_names_whose_ids_end_alike_do_not_fill_one_slot(alike: Callable[[int], list[bytes]], bits: int) -> None:
    """A neighbour of B4: the ids of persons are hashes of names that clients choose."""
    keys = alike(bits)
    with cpu_limit():
        table = KeyTable()
        for start in range(0, MANY, BATCH):
            table.add(b"".join(keys[start : start + BATCH]))
        rows = table.find(b"".join(keys))
    assert len(set(rows.tolist())) == table.count == MANY
    assert table.keys_at(rows) == b"".join(keys)
    assert len(table.keys_at(rows)) == MANY * KEY_BYTES
