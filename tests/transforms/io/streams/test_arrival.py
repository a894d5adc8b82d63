"""When a message of a stream arrived, whatever its sender and its producer say."""

import pytest

from transforms.io.streams.arrival import AHEAD, Arrivals, broker_time
from transforms.metrics import Metric, progress

NOW = 1_795_000_000_000_000
DAY = 86_400_000_000


@pytest.mark.parametrize(
    ("micros", "known"),
    [
        (NOW, NOW),
        (NOW + AHEAD, NOW + AHEAD),
        (NOW - 2_000 * DAY, NOW - 2_000 * DAY),
        (NOW + AHEAD + 1, 0),
        (NOW * 1_000, 0),
        (NOW * 1_000_000, 0),
        (0, 0),
        (-1_000, 0),
        (1_577_836_799_999_999, 0),  # the last moment before 2020
    ],
)
def test_what_a_broker_says_is_believed_if_it_can_be(micros: int, known: int) -> None:
    assert broker_time(micros, NOW) == known


@pytest.mark.parametrize(
    ("stamp", "took", "arrival"),
    [
        ("2026-11-18T11:00:00Z", NOW, 1_794_999_600_000_000),
        (b"2026-11-18T11:00:00Z", NOW, 1_794_999_600_000_000),
        (b"1794999600000", NOW, NOW),  # a number as text is no time of an edge
        (b"\xff", NOW, NOW),
        ("1970-01-01T00:00:01Z", NOW, NOW),
        ("2026-01-01T00:00:00Z", NOW, NOW),
        ("2026-01-01T00:00:00Z", 0, 1_767_225_600_000_000),
        ("rubbish", 0, 0),
    ],
)
def test_what_the_edge_stamps_goes_first_unless_it_is_far_from_that(stamp: bytes | str, took: int, arrival: int) -> None:
    assert Arrivals("stream").of(stamp, took) == arrival


def test_what_is_not_believed_is_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    before, arrivals = progress[Metric.ARRIVALS_IGNORED], Arrivals("kafka://x/t")
    for _ in range(3):
        arrivals.of("2026-01-01T00:00:00Z", NOW)
    assert progress[Metric.ARRIVALS_IGNORED] - before == 3
    assert len(caplog.records) == 1
