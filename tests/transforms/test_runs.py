"""A run's id is a UUIDv7 that tells when the run started."""

from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from transforms.runs import new_run, started_at

MOMENTS = st.integers(0, (2**48 - 1) * 1000 + 999)


@given(MOMENTS)
def test_a_run_tells_when_it_started_to_the_millisecond(now: int) -> None:
    assert started_at(new_run(now)) == now // 1000 * 1000


@given(MOMENTS)
def test_a_run_is_a_uuid_of_version_7(now: int) -> None:
    run = new_run(now)
    assert (run.version, run.variant) == (7, RFC_4122)
    assert UUID(str(run)) == run


def test_the_example_of_the_standard() -> None:
    """RFC 9562, appendix A.6: 2022-02-22 14:22:22 -05:00."""
    assert started_at(UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")) == 1_645_557_742_000_000


def test_runs_that_start_at_once_differ() -> None:
    assert len({new_run(1_795_000_000_000_000) for _ in range(1000)}) == 1000


def test_all_other_bits_are_random() -> None:
    """74 of them: two million runs of one millisecond have no chance to meet."""
    runs = [new_run(0).int for _ in range(200)]
    ever, always = 0, ~0
    for run in runs:
        ever, always = ever | run, always & run
    fixed = 0xF << 76 | 0b11 << 62
    assert ever & ~fixed == (1 << 80) - 1 - fixed
    assert always & ~fixed == 0


@given(MOMENTS, MOMENTS)
def test_runs_are_in_order_of_their_start(one: int, other: int) -> None:
    if one // 1000 < other // 1000:
        assert new_run(one) < new_run(other)
