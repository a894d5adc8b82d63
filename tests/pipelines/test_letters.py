"""What people read about dead letters."""

import gzip
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.letters import EXPLANATIONS, UNKNOWN, explain, inflated, show, shown, summarize
from schemas.reasons import Reason
from tests.transforms.io.letters.tables import HOUR, NOON, RUN, Tables, letter
from transforms.io.letters.pages import plan
from transforms.io.letters.selection import Selection

DOCS = Path(__file__).parents[2] / "docs" / "letters.md"


@pytest.fixture
def tables(chdb_url: str) -> Tables:
    return Tables(chdb_url)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_says_what_it_means_and_what_to_do(reason: Reason) -> None:
    explanation = explain(reason.value)
    assert explanation is EXPLANATIONS[reason]
    assert all(text.endswith(".") for text in explanation)
    assert f"| `{reason.value}` | {explanation.means} | {explanation.do} |" in DOCS.read_text(), "put it into the docs, too"


def test_a_reason_of_a_newer_release_is_no_crash() -> None:
    assert explain("malformed_moon") is UNKNOWN


def test_letters_are_summed_up_by_reason_and_status(tables: Tables) -> None:
    tables.write([letter(place, team_id=place % 3, arrival=NOON + place) for place in range(6)])
    tables.write([letter(9, "missing_token")])
    (page,) = plan(tables.client, RUN, Selection(where="_offset < 3"))
    tables.write([letter(0, receipt=page.receipt, attempt=2, team_id=7, arrival=NOON + 9)])
    tables.acknowledge(page.receipt)
    unknown, missing = summarize(tables.client, Selection())
    assert (unknown.reason, unknown.waiting, unknown.replayed, unknown.failed_again, unknown.teams) == ("unknown_token", 4, 2, 1, 3)
    assert (unknown.newest - unknown.oldest) == timedelta(microseconds=9)
    assert (missing.reason, missing.waiting, missing.teams) == ("missing_token", 1, 0)
    assert [group.waiting for group in summarize(tables.client, Selection(team=1))] == [1]


def test_single_letters_are_shown_the_last_first(tables: Tables) -> None:
    tables.write([letter(place, arrival=NOON + place * HOUR, body=b'{"n": "' + b"x" * 100 + b'"}') for place in range(4)])
    tables.write([letter(9, arrival=NOON - 1, detail="line\nbreak \x1b[31m")])
    found = show(tables.client, Selection(), 2, 20)
    assert [(one.arrived.hour, one.bytes) for one in found] == [(14, 109), (13, 109)]
    assert {one.body for one in found} == {'{"n": "xxxxxxxxxx...'}
    assert found[0].source == "topic/1"
    (last,) = show(tables.client, Selection(until=NOON), 5, 20)
    assert last.detail == "line\\nbreak \\x1b[31m"


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode), st.integers(3, 50))
def test_a_body_is_a_line_of_the_width_that_any_terminal_can_show(body: bytes, width: int) -> None:
    line = shown(body, width)
    assert len(line) <= width
    assert line.isprintable()
    assert shown(gzip.compress(b"a" + body), width) == shown(b"a" + body, width)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b'{"a": "\xc3\xa9"}', '{"a": "é"}'),
        (b"\xff{\x00\n", "\\xff{\\x00\\n"),
        ("\x1b[31mred\u202e".encode(), "\\x1b[31mred\\u202e"),
        (b"x" * 50, "x" * 17 + "..."),
        (b"x" * 20, "x" * 20),
        (b"", ""),
    ],
)
def test_what_cannot_be_printed_is_escaped_and_what_is_long_is_cut(body: bytes, line: str) -> None:
    assert shown(body, 20) == line


def test_a_bomb_is_inflated_a_little(tables: Tables) -> None:
    bomb = gzip.compress(b"x" * 10_000_000)
    assert inflated(bomb, 100) == b"x" * 100
    tables.write([letter(0, body=bomb)])
    assert show(tables.client, Selection(), 1, 20)[0].body == "x" * 17 + "..."


def test_broken_gzip_is_shown_as_it_is() -> None:
    broken = b"\x1f\x8bnonsense"
    assert inflated(broken, 100) == broken
