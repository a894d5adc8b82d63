"""The pages of a replay: how letters are put together, and that they are read back as they were."""

from collections.abc import Sequence
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.message import Origin
from tests.transforms.io.letters.tables import NOON, RUN, Tables, letter
from transforms.io.letters.pages import Page, cut, peek, plan, read_page
from transforms.io.letters.selection import Selection, chosen

RUBBISH = [b"", b"\x00\xff\xfe", b'{"a": "\xc3\x28"}', b"\x1f\x8b\x08broken", "{'é': \"\\n\"}".encode(), bytes(range(256))]
OTHER_RUN = UUID(int=RUN.int + 1)


@pytest.fixture
def tables(sink: str) -> Tables:
    return Tables(sink)


@given(st.lists(st.integers(0, 20)), st.integers(1, 5), st.integers(1, 30))
def test_pages_cover_all_letters_and_are_as_large_as_they_may_be(sizes: Sequence[int], letters: int, limit: int) -> None:
    bounds = list(cut(sizes, letters, limit))
    assert [place for start, end in bounds for place in range(start, end)] == list(range(len(sizes)))
    for start, end in bounds:
        assert end - start <= letters
        assert end - start == 1 or sum(sizes[start:end]) <= limit
        if end < len(sizes):
            assert end - start == letters or sum(sizes[start : end + 1]) > limit


def test_letters_are_read_back_byte_for_byte_with_their_origin(tables: Tables) -> None:
    tables.write([letter(10 + place, body=body, origin_index=3, stamped=place % 2 == 0) for place, body in enumerate(RUBBISH)])
    (page,) = plan(tables.client, RUN, Selection())
    messages = read_page(tables.client, RUN, page)
    assert messages.payloads == RUBBISH
    assert messages.offsets == list(range(len(RUBBISH)))
    assert messages.arrivals == [NOON] * len(RUBBISH)
    assert messages.origins == [Origin("topic/1", 5, 10 + place, 3, place % 2 == 0, 1) for place in range(len(RUBBISH))]
    assert (messages.receipt, messages.source, messages.start, messages.end) == (page.receipt, f"letters://{RUN}", 0, len(RUBBISH))


def test_a_dry_run_reads_the_same(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.io.letters.pages.KEYS_AT_ONCE", 4)
    tables.write([letter(10 + place, body=body) for place, body in enumerate(RUBBISH)])
    seen = [messages for some in chosen(tables.client, Selection()) for messages in peek(tables.client, some)]
    assert [len(messages.payloads) for messages in seen] == [4, 2]
    assert tables.client.rows("SELECT count() FROM replays") == [(0,)]
    (page,) = plan(tables.client, RUN, Selection())
    read = read_page(tables.client, RUN, page)
    for name in ("payloads", "offsets", "arrivals", "origins"):
        assert [one for messages in seen for one in getattr(messages, name)] == getattr(read, name), name


def test_a_run_has_the_same_receipts_each_time_and_another_run_others(tables: Tables) -> None:
    tables.write([letter(place) for place in range(7)])
    pages = plan(tables.client, RUN, Selection(), letters=3)
    assert [(page.start, page.end) for page in pages] == [(0, 3), (3, 6), (6, 7)]
    assert plan(tables.client, RUN, Selection(), letters=3) == pages
    assert not {page.receipt for page in plan(tables.client, OTHER_RUN, Selection(), letters=3)} & {page.receipt for page in pages}
    assert [read_page(tables.client, RUN, page).offsets for page in pages] == [[0, 1, 2], [3, 4, 5], [6]]


def test_every_letter_says_in_which_replay_it_is_before_it_is_read(tables: Tables) -> None:
    tables.write([letter(place) for place in range(5)])
    first, second = plan(tables.client, RUN, Selection(), letters=3)
    rows = tables.client.rows("SELECT _receipt, _offset, run, replay_receipt, replay_offset FROM replays ORDER BY replay_offset")
    assert rows == [(5, place, RUN, (first if place < 3 else second).receipt, place) for place in range(5)]


def test_pages_go_on_over_slices(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.io.letters.selection.SLICE", 3)
    tables.write([letter(place) for place in range(8)])
    pages = plan(tables.client, RUN, Selection(), letters=2)
    assert [(page.start, page.end) for page in pages] == [(0, 2), (2, 3), (3, 5), (5, 6), (6, 8)]
    assert sorted(origin.offset for page in pages for origin in read_page(tables.client, RUN, page).origins) == list(range(8))


def test_letters_that_are_gone_meanwhile_are_left_out(tables: Tables) -> None:
    tables.write([letter(place) for place in range(4)])
    (page,) = plan(tables.client, RUN, Selection())
    tables.client.command("ALTER TABLE dead_letters DELETE WHERE _offset = 1 SETTINGS mutations_sync = 2")
    assert read_page(tables.client, RUN, page).offsets == [0, 2, 3]
    tables.client.command("ALTER TABLE dead_letters DELETE WHERE 1 SETTINGS mutations_sync = 2")
    assert read_page(tables.client, RUN, page).payloads == []


def test_letters_of_an_older_release_are_their_own_origin(tables: Tables) -> None:
    tables.client.command(
        "INSERT INTO dead_letters (team_id, reason, step, body, _timestamp, _receipt, _offset, _index)"
        f" SELECT 1, 'unknown_token', 's', 'body', fromUnixTimestamp64Micro({NOON}), 8, 9, 2"
    )
    (page,) = plan(tables.client, RUN, Selection())
    assert read_page(tables.client, RUN, page).origins == [Origin("receipt:8", 8, 9, 2, False, 1)]


def test_nothing_chosen_has_no_pages(tables: Tables) -> None:
    assert plan(tables.client, RUN, Selection()) == []


def test_a_server_reads_the_same(engine_url: str) -> None:
    tables = Tables(engine_url)
    tables.write([letter(2**64 - 1 - place, body=body, receipt=2**64 - 1) for place, body in enumerate(RUBBISH)])
    (page,) = plan(tables.client, RUN, Selection(where="bytes >= 0 -- all of them"))
    assert sorted(read_page(tables.client, RUN, page).payloads) == sorted(RUBBISH)
    assert page == Page(page.receipt, 0, len(RUBBISH))
    (seen,) = (messages for some in chosen(tables.client, Selection()) for messages in peek(tables.client, some))
    assert seen.payloads == read_page(tables.client, RUN, page).payloads
