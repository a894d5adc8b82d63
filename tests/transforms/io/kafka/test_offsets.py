"""Offsets are committed up to where everything is done, whatever order it is done in."""

import random

from hypothesis import given
from hypothesis import strategies as st

from transforms.io.kafka.offsets import UNKNOWN, Committed, Offsets


def begun(start: int) -> Offsets:
    return Offsets(Committed(start))


def where(offsets: Offsets) -> tuple[int, int]:
    return offsets.done.offset, offsets.next


def test_what_is_done_in_order_moves_the_offset() -> None:
    offsets = begun(10)
    assert [offsets.hand_out(receipt, end) for receipt, end in ((1, 15), (2, 20), (3, 30))] == [10, 15, 20]
    offsets.complete(1)
    assert offsets.done.offset == 15
    offsets.complete(3)
    assert offsets.done.offset == 15
    offsets.complete(2)
    assert where(offsets) == (30, 30)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_offset_is_the_start_of_the_first_that_is_not_done(sizes: list[int], rng: random.Random) -> None:
    offsets, ends, end = begun(0), list[int](), 0
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
        assert offsets.done.offset == ([0, *ends])[first_open]


@given(st.lists(st.tuples(st.sampled_from(["hand out", "complete", "take back", "reach", "expire"]), st.integers(0, 9)), max_size=30))
def test_nothing_is_done_that_was_not_completed_or_could_not_be_read(steps: list[tuple[str, int]]) -> None:
    """Whatever happens in whatever order: an offset is done if its receipt is, or if the broker said that there is nothing."""
    offsets, handed, fine, receipt = begun(0), dict[int, tuple[int, int]](), set[int](), 0
    for what, number in steps:
        before = offsets.done.offset
        if what == "hand out":
            receipt += 1
            start = offsets.hand_out(receipt, offsets.next + number + 1)
            assert start <= offsets.next
            handed[receipt] = start, offsets.next
        elif what == "complete" and (receipts := [one for one in handed if one % 10 == number]):
            offsets.complete(receipts[0])
            fine |= set(range(*handed[receipts[0]]))
        elif what == "take back" and (receipts := [one for one in handed if one % 10 == number]):
            offsets.take_back(receipts[0])
        elif what == "reach":
            fine |= set(range(offsets.next, offsets.next + number))
            offsets.reach(offsets.next + number)
        elif what == "expire":
            fine |= set(range(offsets.next, offsets.next + number))
            offsets.skip_to(offsets.next + number)
        assert set(range(offsets.done.offset)) <= fine
        assert before <= offsets.done.offset


def test_what_is_taken_back_is_handed_out_again() -> None:
    offsets = begun(0)
    for receipt, end in ((1, 5), (2, 9), (3, 12)):
        offsets.hand_out(receipt, end)
    offsets.complete(1)
    offsets.complete(3)
    offsets.take_back(2)
    assert where(offsets) == (5, 5)
    assert offsets.hand_out(4, 12) == 5
    offsets.complete(4)
    assert offsets.done.offset == 12


def test_receipts_of_before_the_partition_was_begun_anew_change_nothing() -> None:
    offsets = begun(0)
    offsets.hand_out(1, 5)
    for stranger in (7, 8):
        offsets.complete(stranger)
        offsets.take_back(stranger)
    assert where(offsets) == (0, 5)
    offsets.hand_out(7, 9)
    offsets.complete(1)
    assert offsets.done.offset == 5


def test_it_never_goes_back_behind_what_is_done() -> None:
    offsets = begun(0)
    offsets.hand_out(1, 5)
    offsets.complete(1)
    offsets.take_back(1)
    assert where(offsets) == (5, 5)


def test_a_gap_that_the_broker_made_is_done_with_what_is_before_it() -> None:
    offsets = begun(0)
    offsets.hand_out(1, 5)
    offsets.skip_to(50)
    assert where(offsets) == (0, 50)
    assert offsets.hand_out(2, 60) == 50
    offsets.complete(1)
    offsets.complete(2)
    assert offsets.done.offset == 60


def test_a_gap_at_the_end_is_done_at_once() -> None:
    offsets = begun(3)
    offsets.skip_to(50)
    assert where(offsets) == (50, 50)


def test_what_cannot_be_read_is_done_and_the_next_receipt_has_it_too() -> None:
    """So receipts have no gaps: what the tables have of a partition can be told from them."""
    offsets = begun(0)
    offsets.hand_out(1, 5)
    offsets.reach(9)
    assert where(offsets) == (0, 5)
    offsets.complete(1)
    assert where(offsets) == (9, 5)
    assert offsets.hand_out(2, 12) == 5
    offsets.take_back(2)
    assert where(offsets) == (9, 9)


def test_a_position_has_the_leader_epoch_of_the_message_before_it() -> None:
    offsets = Offsets(Committed(3, 7, 99))
    assert offsets.position == (3, "", 7)
    offsets.hand_out(1, 5, epoch=8)
    assert offsets.position == (5, "", 8)
    offsets.complete(1)
    assert offsets.done == Committed(5, 8, 1)
    offsets.reach(9)
    assert (offsets.done, offsets.position) == (Committed(9, UNKNOWN, 1), (5,))


def test_the_oldest_is_that_of_the_first_that_is_not_done() -> None:
    offsets = begun(0)
    assert offsets.oldest == 0
    offsets.hand_out(1, 5, oldest=70)
    offsets.hand_out(2, 6, oldest=80)
    assert offsets.oldest == 70
    offsets.complete(1)
    assert offsets.oldest == 80
