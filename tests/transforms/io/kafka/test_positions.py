"""Where a partition is begun, by the group's offset, the broker's, and what the tables have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.io.clickhouse import Client
from transforms.io.kafka.offsets import Committed
from transforms.io.kafka.positions import Positions, Start, Why, first_start, next_start

RUN = "01935b1e-7c5a-7def-8123-456789abcdef"
AT = Committed(50, 3, 99)


@pytest.mark.parametrize(
    ("found", "stored", "start"),
    [
        (None, None, Start(Committed(7), Why.NEW)),
        ((AT, "now"), None, Start(AT, Why.GROUP)),
        ((AT, ""), None, Start(AT, Why.GROUP)),  # of an older release, or set by somebody
        ((AT, "other"), None, Start(Committed(7), Why.REMADE)),
        ((AT, "now"), 30, Start(Committed(30), Why.BEHIND, 20)),
        ((AT, "now"), 0, Start(Committed(7), Why.BEHIND, 43)),  # what lies before is not there any more
        ((AT, "now"), 50, Start(AT, Why.GROUP)),
        ((AT, "now"), 80, Start(AT, Why.GROUP)),  # somebody went back
    ],
)
def test_where_a_run_begins(found: tuple[Committed, str] | None, stored: int | None, start: Start) -> None:
    assert first_start(found, "now", 7, stored) == start


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_what_a_broker_does_not_have_never_means_skip(wanted: int, low: int, size: int) -> None:
    """It goes on at the oldest message that is there, wherever the offset lies."""
    start = next_start(wanted, low, low + size, receipt=5)
    assert start.at.offset == low
    assert start.why == (Why.EXPIRED if wanted < low else Why.TRUNCATED)
    assert start.messages >= 0


class Books:
    """A ledger of one source."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.positions = Positions(client, "group", RUN)

    def write(self, source: str, *ranges: tuple[int, int, int], status: str = "acknowledged") -> None:
        for receipt, start, end in ranges:
            self.client.command(
                f"INSERT INTO receipts (receipt, status, source, start, end) SELECT {receipt}, '{status}', '{source}', {start}, {end}"
            )

    def begin(self, source: str, topic: str) -> None:
        self.positions.write(topic, [(source, Start(Committed(0), Why.NEW))])


@pytest.fixture
def books(client: Client) -> Books:
    return Books(client)


def test_tables_that_have_the_last_receipt_have_all(books: Books) -> None:
    books.write("a", (1, 0, 10), (2, 10, 20))
    assert books.positions.stored({"a": 2}) == {}


@pytest.mark.parametrize(
    ("ranges", "end"),
    [
        ([(1, 0, 10), (2, 10, 20)], 20),
        ([(1, 40, 50), (2, 50, 60)], 60),  # which was begun at its end
        ([(1, 0, 10), (2, 20, 30), (3, 30, 40)], 10),
        ([(1, 0, 10), (2, 5, 20), (3, 0, 30), (4, 31, 40), (5, 50, 60)], 30),  # read twice, in other pieces
    ],
)
def test_what_lies_behind_the_first_gap_is_read_again(books: Books, ranges: list[tuple[int, int, int]], end: int) -> None:
    books.write("a", *ranges)
    books.write("b", (90, 0, 1_000))
    books.write("a", (91, end, 1_000), status="open")
    assert books.positions.stored({"a": 77, "b": 90}) == {"a": end}


def test_tables_that_know_nothing_of_a_source_say_so(books: Books) -> None:
    assert books.positions.stored({"a": 77}) == {"a": None}
    assert books.positions.stored({}) == {}


def test_a_topic_is_named_by_its_id(books: Books) -> None:
    assert books.positions.name("c", "t", "one") == "kafka://c/t/one"
    books.begin("kafka://c/t/one/0", "one")
    assert [books.positions.name("c", "t", topic) for topic in ("one", "two")] == ["kafka://c/t/one", "kafka://c/t/two"]


def test_the_topic_of_an_older_release_keeps_its_name(books: Books) -> None:
    books.write("kafka://c/t/0", (1, 0, 10))
    books.write("kafka://c/tt/0", (2, 0, 10))
    assert books.positions.knows("c", "t")
    assert books.positions.name("c", "t", "one") == "kafka://c/t"
    books.begin("kafka://c/t/0", "one")
    assert [books.positions.name("c", "t", topic) for topic in ("one", "two")] == ["kafka://c/t", "kafka://c/t/two"]
    assert books.positions.name("c", "t'", "one") == "kafka://c/t'/one"


def test_topics_without_ids_are_counted(books: Books) -> None:
    assert books.positions.count("c", "t") == 1
    for number in (1, 2, 10):
        books.begin(f"kafka://c/t/#{number}/0", f"#{number}")
    assert books.positions.count("c", "t") == 10


def test_a_group_is_known_by_where_it_began(books: Books) -> None:
    assert not books.positions.knows("c", "t")
    books.begin("kafka://c/t/one/0", "one")
    assert books.positions.knows("c", "t")
    assert not Positions(books.client, "another", RUN).knows("c", "t")
