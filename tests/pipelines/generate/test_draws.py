from datetime import UTC, datetime
from uuid import UUID

import numpy as np
import pytest

from pipelines.generate.draws import Draws, hex_chars, texts, time_chars, uuid_v4, uuid_v7

INDEX = np.arange(10_000)


def test_a_draw_depends_on_seed_name_and_index_alone():
    one, places = Draws(1).bits("a", INDEX), np.array([9_999, 3, 3])
    assert np.array_equal(Draws(1).bits("a", INDEX[places]), one[places])
    assert not np.any(Draws(1).bits("b", INDEX) == one)
    assert not np.any(Draws(2).bits("a", INDEX) == one)
    assert len(set(one.tolist())) == len(one)


def test_the_stream_never_changes():
    assert Draws(1).bits("a", np.array([0, 1])).tolist() == [3806301188327564927, 16925665878988744774]


def test_shares_are_even():
    share = Draws(1).share("a", INDEX)
    assert share.min() >= 0
    assert share.max() < 1
    counts = np.bincount((share * 10).astype(int), minlength=10)
    assert counts.min() > 900
    assert counts.max() < 1_100


@pytest.mark.parametrize("limit", [1, 2, 7, 2**32])
def test_below_stays_below_and_reaches_the_ends(limit):
    found = Draws(1).below("a", INDEX, limit)
    assert found.min() >= 0
    assert found.max() < limit
    if limit <= 7:
        assert set(found.tolist()) == set(range(limit))


def test_log_below_prefers_small_numbers():
    found = Draws(1).log_below("a", INDEX, np.full(len(INDEX), 1_024))
    assert found.min() == 0
    assert found.max() == 1_023
    assert 0.4 < np.mean(found < 32) < 0.6


def test_log_below_takes_a_limit_an_index():
    limits = 1 + INDEX % 5
    found = Draws(1).log_below("a", INDEX, limits)
    assert np.all((found >= 0) & (found < limits))
    assert [int(found[limits == limit].max()) for limit in range(1, 6)] == [0, 1, 2, 3, 4]


def test_uuids_are_of_their_version_and_hold_the_time():
    high, low = Draws(1).bits("high", INDEX), Draws(1).bits("low", INDEX)
    millis = 1_793_000_000_000 + INDEX
    ids = [UUID(text.decode()) for text in texts(uuid_v7(millis, high, low))]
    assert {(each.version, each.variant) for each in ids} == {(7, "specified in RFC 4122")}
    assert [each.int >> 80 for each in ids] == millis.tolist()
    assert len(set(ids)) == len(ids)
    assert {UUID(text.decode()).version for text in texts(uuid_v4(high, low))} == {4}


def test_hex_is_most_significant_first():
    assert texts(hex_chars(np.array([[0x0123456789ABCDEF], [1]], np.uint64))) == [b"0123456789abcdef", b"0000000000000001"]


def test_times_are_iso_with_milliseconds():
    micros = Draws(1).below("time", INDEX[:2_000], 2**31) * 1_000_003
    for text, each in zip(texts(time_chars(micros)), micros.tolist(), strict=True):
        moment = datetime.fromtimestamp(each // 1000 / 1000, UTC)
        assert text.decode() == moment.replace(tzinfo=None).isoformat(timespec="milliseconds")


def test_texts_are_put_between():
    assert texts(np.full((2, 3), ord("x"), np.uint8), b"<", b">") == [b"<xxx>", b"<xxx>"]
