"""Offsets are committed up to where everything is done, whatever order it is done in."""

import random

from hypothesis import given
from hypothesis import strategies as st

from transforms.io.kafka.offsets import Offsets


def test_what_is_done_in_order_moves_the_offset() -> None:
    offsets = Offsets(10)
    assert [offsets.hand_out(receipt, end) for receipt, end in ((1, 15), (2, 20), (3, 30))] == [10, 15, 20]
    offsets.complete(1)
    assert offsets.done == 15
    offsets.complete(3)
    assert offsets.done == 15
    offsets.complete(2)
    assert (offsets.done, offsets.next) == (30, 30)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_offset_is_the_start_of_the_first_that_is_not_done(sizes: list[int], rng: random.Random) -> None:
    offsets, ends, end = Offsets(0), list[int](), 0
    for receipt, size in enumerate(sizes):
        end += size
        offsets.hand_out(receipt, end)
        ends.append(end)
    order = list(range(len(sizes)))
    rng.shuffle(order)
    done = set()
    for receipt in order:
        offsets.complete(receipt)
        done.add(receipt)
        first_open = next((number for number in range(len(sizes)) if number not in done), len(sizes))
        assert offsets.done == ([0, *ends])[first_open]


def test_what_is_taken_back_is_handed_out_again() -> None:
    offsets = Offsets(0)
    for receipt, end in ((1, 5), (2, 9), (3, 12)):
        offsets.hand_out(receipt, end)
    offsets.complete(1)
    offsets.complete(3)
    offsets.take_back(5)
    assert (offsets.done, offsets.next) == (5, 5)
    assert offsets.hand_out(4, 12) == 5
    offsets.complete(4)
    assert offsets.done == 12


def test_it_never_goes_back_behind_what_is_done() -> None:
    offsets = Offsets(0)
    offsets.hand_out(1, 5)
    offsets.complete(1)
    offsets.take_back(0)
    assert (offsets.done, offsets.next) == (5, 5)


def test_a_gap_that_the_broker_made_is_done_with_what_is_before_it() -> None:
    offsets = Offsets(0)
    offsets.hand_out(1, 5)
    offsets.skip_to(50)
    assert (offsets.done, offsets.next) == (0, 50)
    assert offsets.hand_out(2, 60) == 50
    offsets.complete(1)
    offsets.complete(2)
    assert offsets.done == 60


def test_a_gap_at_the_end_is_done_at_once() -> None:
    offsets = Offsets(3)
    offsets.skip_to(50)
    assert (offsets.done, offsets.next) == (50, 50)
