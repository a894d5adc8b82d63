"""Working indexes are valid for one generation of their shard's state, and for nobody else meanwhile."""

from transforms.state.shard_log import Indexes, new_generation


def test_an_index_is_found_under_its_own_generation() -> None:
    indexes: Indexes[list[int]] = Indexes()
    index = [1]
    indexes.put(3, 77, index)
    assert indexes.get(3, 77) is index


def test_an_index_of_another_generation_is_not_found_and_never_comes_back() -> None:
    """State was rolled back, or written by another process. No generation repeats: it can be dropped at once."""
    indexes: Indexes[list[int]] = Indexes()
    indexes.put(3, 77, [1])
    assert indexes.get(3, 76) is None
    assert indexes.get(3, 77) is None


def test_a_shard_without_state_has_no_index() -> None:
    assert Indexes().get(3, 0) is None


def test_shards_do_not_touch_each_other() -> None:
    indexes: Indexes[str] = Indexes()
    indexes.put(1, 77, "one")
    indexes.put(2, 77, "two")
    assert indexes.get(1, 77) == "one"
    assert indexes.get(2, 77) == "two"


def test_the_newest_index_of_a_shard_counts() -> None:
    indexes: Indexes[str] = Indexes()
    indexes.put(1, 77, "old")
    indexes.put(1, 78, "new")
    assert indexes.values() == ["new"]
    assert indexes.get(1, 78) == "new"


def test_an_index_is_out_while_it_is_changed() -> None:
    """If the change fails halfway, nobody sees what is left of it: the state is still of the old generation."""
    indexes: Indexes[str] = Indexes()
    indexes.put(1, 77, "one")
    indexes.put(2, 77, "two")
    indexes.get(1, 77)
    assert indexes.values() == ["two"]
    assert indexes.get(1, 77) is None


def test_generations_are_never_zero_and_do_not_repeat() -> None:
    found = {new_generation() for _ in range(10_000)}
    assert len(found) == 10_000
    assert all(0 < generation < 2**63 for generation in found)
