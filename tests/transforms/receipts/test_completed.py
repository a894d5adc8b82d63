"""What is complete: told in the process, and read from the table."""

from transforms.io.clickhouse import shared
from transforms.receipts import Ledger, completed
from transforms.receipts.accounts import Account

RUN = "01935b1e-7c5a-7def-8123-456789abcdef"


def test_the_ledger_tells_its_process(sink: str) -> None:
    known = completed.completed(sink)
    Ledger(sink, RUN).acknowledge([Account(1), Account(2)])
    assert known.told([1, 3]) == [1]
    assert known.told([1, 2]) == [2], "once"


def test_other_processes_find_it_in_the_table(sink: str) -> None:
    Ledger(sink, RUN).acknowledge([Account(1), Account(2**64 - 1)])
    known = completed.Completed(shared(sink))
    assert sorted(known.stored([1, 2, 2**64 - 1])) == [1, 2**64 - 1]
    assert known.stored([]) == []


def test_what_nobody_asks_for_is_forgotten(chdb_url: str) -> None:
    known = completed.Completed(shared(chdb_url))
    known.tell(range(completed.KEPT + 5))
    assert known.told([0, 4, 5]) == [5]
