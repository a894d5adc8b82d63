"""The hash table of keys, against a dict."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from transforms.state.key_table import KEY_BYTES, KeyTable, grown

# Few last bytes, so that many keys want the same slot.
KEYS = st.builds(lambda first, last: first.to_bytes(8) + last.to_bytes(8), st.integers(0, 30), st.sampled_from([0, 1, 1 << 11, 2**64 - 1]))
BATCHES = st.lists(st.lists(KEYS, max_size=20), max_size=8)


def assert_like(table: KeyTable, known: dict[bytes, int]) -> None:
    assert table.count == len(known)
    assert table.find(b"".join(known)).tolist() == list(range(len(known)))
    assert table.keys_at(np.arange(len(known))) == b"".join(known)


@given(BATCHES)
def test_it_numbers_keys_like_a_dict(batches: list[list[bytes]]) -> None:
    table, known = KeyTable(), dict[bytes, int]()
    for batch in batches:
        found = table.find(b"".join(batch)).tolist()
        assert found == [known.get(key, -1) for key in batch]
        rows = table.add(b"".join(batch)).tolist()
        by_row = {row: key for key, row in known.items()}
        for key, row in zip(batch, rows, strict=True):
            assert known.get(key, row) == row
            assert by_row.setdefault(row, key) == key, "no two keys share a row"
            known[key] = row
        known = dict(sorted(known.items(), key=lambda item: item[1]))
        assert_like(table, known)


def test_it_grows_through_several_doublings() -> None:
    rng = np.random.default_rng(1)
    table, known = KeyTable(), list[bytes]()
    for size in (1, 400, 700, 5_000, 40_000):
        fresh = rng.bytes(size * KEY_BYTES)
        rows = table.add(fresh)
        assert sorted(rows.tolist()) == list(range(len(known), len(known) + size))
        known += [b""] * size
        for place, row in enumerate(rows.tolist()):
            known[row] = fresh[place * KEY_BYTES : (place + 1) * KEY_BYTES]
    assert table.find(b"".join(known)).tolist() == list(range(len(known)))
    assert table.keys_at(np.arange(len(known))) == b"".join(known)
    assert (table.find(rng.bytes(1_000 * KEY_BYTES)) == -1).all()


def test_thousands_of_keys_that_want_one_slot_are_found() -> None:
    keys = [number.to_bytes(8) + bytes(8) for number in range(3_000)]
    table = KeyTable()
    for start in range(0, 3_000, 100):
        table.add(b"".join(keys[start : start + 100]))
    rows = table.find(b"".join(keys)).tolist()
    assert sorted(rows) == list(range(3_000))


def test_nothing_is_found_in_nothing() -> None:
    table = KeyTable()
    assert table.find(b"").tolist() == table.add(b"").tolist() == []
    assert table.find(bytes(KEY_BYTES)).tolist() == [-1]


def test_a_grown_column_keeps_its_values_and_fills_the_rest() -> None:
    column = np.array([1, 2, 3])
    assert grown(column, 3, 9) is column
    assert grown(column, 5, 9).tolist()[:5] == [1, 2, 3, 9, 9]
