"""Which letters the filters choose, and what they are: the view `letters`."""

import pytest

from schemas.errors import ConfigError
from tests.transforms.io.letters.tables import HOUR, NOON, RUN, Tables, letter
from transforms.io.letters.pages import Page, plan
from transforms.io.letters.selection import Selection, checked, chosen


@pytest.fixture
def tables(sink: str) -> Tables:
    return Tables(sink)


def offsets(tables: Tables, selection: Selection) -> list[int]:
    return [each.offset for some in chosen(tables.client, selection) for each in some]


LETTERS = [
    letter(0),
    letter(1, "missing_token"),
    letter(2, team_id=3, body=b'it\'s a \\ "text"'),
    letter(3, step="Other", arrival=NOON + HOUR),
    letter(4, arrival=NOON - 1, detail="the token is it's"),
    letter(5, "unreadable_file"),
]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), [4, 0, 1, 2, 3]),
        (Selection(reasons=("missing_token",)), [1]),
        (Selection(reasons=("missing_token", "unreadable_file")), [1]),
        (Selection(step="Other"), [3]),
        (Selection(team=3), [2]),
        (Selection(team=0, reasons=("unknown_token",)), [4, 0, 3]),
        (Selection(since=NOON), [0, 1, 2, 3]),
        (Selection(until=NOON), [4]),
        (Selection(since=NOON, until=NOON + HOUR), [0, 1, 2]),
        (Selection(text="it's"), [4, 2]),
        (Selection(text='\\ "'), [2]),
        (Selection(where="_offset % 2 = 0"), [4, 0, 2]),
        (Selection(where="team_id = 3 OR step = 'Other' -- a comment", since=NOON + 1), [3]),
        (Selection(limit=2), [0, 1]),
        (Selection(limit=3, reasons=("unknown_token",)), [4, 0, 3]),
    ],
)
def test_filters(tables: Tables, selection: Selection, expected: list[int]) -> None:
    tables.write(LETTERS)
    assert sorted(offsets(tables, selection)) == sorted(expected)


@pytest.mark.parametrize("limit", [None, 1, 2, 3, 4, 5, 9])
def test_many_are_read_in_slices_each_once_the_oldest_day_first(tables: Tables, monkeypatch: pytest.MonkeyPatch, limit: int | None) -> None:
    monkeypatch.setattr("transforms.io.letters.selection.SLICE", 2)
    reasons = {"b": 0, "a": 1}
    days = [
        letter(10 * day + place, arrival=NOON + day * 24 * HOUR, reason=reason) for day in (1, 0, 2) for reason, place in reasons.items()
    ]
    tables.write(days)
    assert offsets(tables, Selection(limit=limit)) == [1, 0, 11, 10, 21, 20][:limit]


@pytest.mark.parametrize("where", ["1", "status = 'waiting'", "team_id IN (SELECT 0)", "1 = 1 -- yes", "(team_id = 0) OR (team_id = 1)"])
def test_a_condition_is_taken(tables: Tables, where: str) -> None:
    tables.write([letter(0)])
    assert offsets(tables, checked(tables.client, Selection(where=where))) == [0]


@pytest.mark.parametrize(
    "where",
    [
        "", "1) OR (1", "1 FROM events", "1, 2", "1 UNION ALL SELECT 1", "1; SELECT 2", "sauce = 1", "source", "team_id =",
        "SELECT 1", "1 AS x, 2", "/* open", "count() > 1", "1 FORMAT JSON", "1 INTO OUTFILE 'x'", "1 SETTINGS max_threads = 1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("server", [False, True], ids=["embedded", "server"])
def test_what_is_no_condition_is_refused_with_what_clickhouse_says(where: str, server: bool, request: pytest.FixtureRequest) -> None:
    tables = Tables(request.getfixturevalue("engine_url" if server else "sink"))
    with pytest.raises(ConfigError, match="--where") as refused:
        checked(tables.client, Selection(where=where))
    assert "hint: write SQL on the columns team_id, reason" in str(refused.value)


# The view.


def replayed(tables: Tables, selection: Selection = Selection(), run: int = 0) -> Page:  # noqa: B008
    (page,) = plan(tables.client, type(RUN)(int=RUN.int + run), selection)
    return page


def test_a_letter_waits_until_its_replay_is_acknowledged(tables: Tables) -> None:
    tables.write([letter(0), letter(1)])
    assert tables.statuses() == {(5, 0): "waiting", (5, 1): "waiting"}
    page = replayed(tables, Selection(where="_offset = 0"))
    tables.open(page.receipt)
    assert tables.statuses() == {(5, 0): "waiting", (5, 1): "waiting"}
    tables.acknowledge(page.receipt)
    assert tables.statuses() == {(5, 0): "replayed", (5, 1): "waiting"}
    assert offsets(tables, Selection()) == [1]
    assert sorted(offsets(tables, Selection(include_replayed=True))) == [0, 1]


def test_a_letter_whose_replay_failed_is_followed_by_another(tables: Tables) -> None:
    tables.write([letter(0), letter(1)])
    page = replayed(tables)
    tables.write([letter(1, receipt=page.receipt, attempt=2, origin_receipt=5)])
    tables.acknowledge(page.receipt)
    assert tables.statuses() == {(5, 0): "replayed", (5, 1): "failed_again", (page.receipt, 1): "waiting"}
    again = replayed(tables, run=1)
    tables.acknowledge(again.receipt)
    assert tables.statuses() == {(5, 0): "replayed", (5, 1): "failed_again", (page.receipt, 1): "replayed"}
    assert tables.client.rows("SELECT attempt, origin_receipt, origin_offset FROM letters ORDER BY attempt, _offset") == [
        (1, 5, 0), (1, 5, 1), (2, 5, 1),
    ]  # fmt: skip


def test_what_an_unfinished_replay_made_does_not_count(tables: Tables) -> None:
    """It may have stored half of what a message holds: the message as a whole still waits."""
    tables.write([letter(0)])
    page = replayed(tables)
    tables.open(page.receipt)
    tables.write([letter(0, receipt=page.receipt, attempt=2, index=1)])
    assert tables.statuses() == {(5, 0): "waiting"}


def test_one_event_of_a_message_that_fails_is_enough(tables: Tables) -> None:
    tables.write([letter(0)])
    page = replayed(tables)
    tables.write([letter(0, receipt=page.receipt, attempt=2, index=index) for index in (1, 3)])
    tables.acknowledge(page.receipt)
    rows = tables.client.rows("SELECT _receipt, _index, status FROM letters ORDER BY attempt, _index")
    assert rows == [(5, 0, "failed_again"), (page.receipt, 1, "waiting"), (page.receipt, 3, "waiting")]


@pytest.mark.parametrize("failed", [0, 1])
def test_of_two_replays_at_once_one_that_went_well_is_enough(tables: Tables, failed: int) -> None:
    tables.write([letter(0)])
    pages = [replayed(tables, run=run) for run in (0, 1)]
    tables.write([letter(0, receipt=pages[failed].receipt, attempt=2)])
    tables.acknowledge(*(page.receipt for page in pages))
    assert tables.statuses() == {(5, 0): "replayed", (pages[failed].receipt, 0): "waiting"}


def test_a_bundle_that_was_run_again_makes_no_second_letter(tables: Tables) -> None:
    tables.write([letter(0)])
    tables.write([letter(0)])
    assert tables.statuses() == {(5, 0): "waiting"}
