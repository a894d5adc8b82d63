"""A receipt comes out in pieces: none too large, each message parsed once, and the account complete with the last and not before."""

import gzip
import random

import pytest

from schemas.event import DeadLetter
from schemas.message import Messages
from schemas.outcomes import Outcome, Report, Tally
from tests.transforms.parse.helpers import NOW, REGISTRY, message
from transforms.parse import rules
from transforms.parse.rules import Piece, parse_pieces
from transforms.receipts.accounts import Accounts


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "BATCH_EVENTS", 10)
    monkeypatch.setattr(rules, "BATCH_BYTES", 5_000)
    monkeypatch.setattr(rules, "MAX_BAD_EVENTS", 4)


def batch_of(events: int, bad: int = 0) -> bytes:
    good = [message(token=None, uuid=None, distinct_id=f"d{place}") for place in range(events)]
    return b'{"api_key":"phc_a","batch":[' + b",".join([*good, *[b'{"x"}'] * bad]) + b"]}"


def pieces_of(*payloads: bytes) -> list[Piece]:
    return list(parse_pieces(Messages(9, "topic/0", list(payloads), list(range(len(payloads))), NOW, [NOW] * len(payloads)), REGISTRY))


def outcomes(piece: Piece) -> Report:
    """Return the report of what was done with a piece."""
    letters = [Tally(one.team_id, NOW // 3_600_000_000 * 3600, Outcome.REJECTED, one.reason, one.events) for one in piece.batch.letters]
    stored = [Tally(one.team_id, NOW // 3_600_000_000 * 3600, Outcome.STORED, "", 1) for one in piece.batch.events]
    return Report(9, stored + letters)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seed", range(20))
def test_a_receipt_is_complete_with_its_last_piece_and_not_before(seed: int) -> None:
    chance = random.Random(seed)
    payloads = [batch_of(chance.randint(0, 35), chance.randint(0, 8)) if chance.random() < 0.5 else message() for _ in range(8)]
    pieces = pieces_of(*payloads)
    assert sum(piece.report.parsed for piece in pieces) == 8
    assert all(len(piece.batch.events) <= 10 for piece in pieces)
    accounts = Accounts([Report(9, read=8, source="topic/0", start=0, end=8)])
    for piece in pieces[:-1]:
        assert accounts.add(piece.report) is None
        assert accounts.add(outcomes(piece)) is None
    accounts.add(outcomes(pieces[-1]))
    (account,) = filter(None, [accounts.add(pieces[-1].report)])
    assert account.parsed == 8


@pytest.mark.usefixtures("small")
def test_the_order_of_events_and_messages_stays() -> None:
    pieces = pieces_of(message(distinct_id="first"), batch_of(25), message(distinct_id="last"))
    assert [len(piece.batch.events) for piece in pieces] == [10, 10, 7]
    assert [piece.report.parsed for piece in pieces] == [1, 0, 2]
    assert [piece.places for piece in pieces] == [range(2), range(1, 2), range(1, 3)]
    events = [event for piece in pieces for event in piece.batch.events]
    assert [event.distinct_id for event in events] == ["first", *[f"d{place}" for place in range(25)], "last"]
    assert [event.index for event in events[1:-1]] == list(range(25))


@pytest.mark.usefixtures("small")
def test_what_a_message_inflates_to_counts_and_not_what_was_sent() -> None:
    large = gzip.compress(message(properties={"a": "x" * 3_000}))
    assert len(large) < 300
    assert [len(piece.batch.events) for piece in pieces_of(*[large] * 6)] == [2, 2, 2]


@pytest.mark.usefixtures("small")
def test_few_bad_events_are_a_letter_each_and_too_many_are_one() -> None:
    few, many = batch_of(1, bad=4), batch_of(1, bad=5)
    (piece,) = pieces_of(few, many)
    letters = piece.batch.letters
    assert [(letter.index, letter.events) for letter in letters] == [(1, 1), (2, 1), (3, 1), (4, 1), (0, 5)]
    assert [letter.body for letter in letters[:4]] == [b'{"api_key":"phc_a","batch":[{"x"}]}'] * 4
    assert letters[4] == DeadLetter(
        1, "malformed_body", "5 events of the message are rejected, 5 of them as this", "ParseEvents", many, NOW, 9, 1, 0, True, 1,
        "topic/0", 9, 1, 0, 5,
    )  # fmt: skip
    assert piece.report.tallies == [Tally(1, NOW // 3_600_000_000 * 3600, Outcome.RECEIVED, "", 11)]


def test_an_empty_receipt_has_a_report() -> None:
    (piece,) = pieces_of()
    assert piece.report == Report(9, [], parsed=0)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("messages", [9, 10, 11, 20])
def test_a_piece_that_is_just_full_is_not_followed_by_an_empty_one(messages: int) -> None:
    pieces = pieces_of(*[message()] * messages)
    assert sum(len(piece.batch.events) for piece in pieces) == sum(piece.report.parsed for piece in pieces) == messages
    assert len(pieces) == -(-messages // 10)
