"""Tables of any size, filled by SQL: rows of `events` spread evenly over days of arrival, and the ledger that they balance with."""

from transforms.io.clickhouse import Client

TEAMS = 40
RECEIPT_ROWS = 2_000
NAMES = ("$pageview", "$autocapture", "$pageleave", "$identify", "signed up", "purchase", "$feature_flag_called", "$set")
DAY = 86_400_000_000  # microseconds


class Filled:
    """`rows` events that arrive evenly in `days` before `end`, microseconds since 1970; numbered from 0."""

    def __init__(self, client: Client, rows: int, days: int, end: int) -> None:
        self.client = client
        self.rows = rows
        self._step = days * DAY // rows
        self._start = end - self._step * rows

    def number_at(self, moment: int) -> int:
        """Return which event arrives at a moment."""
        return (moment - self._start) // self._step

    def insert(self, numbers: str, copy: bool = False) -> None:
        """Insert the events of a subquery of `number`s; as a copy, of other receipts, half a minute and a day of event time later."""
        self.client.command(
            "INSERT INTO events (uuid, event, properties, timestamp, team_id, distinct_id, _timestamp, _receipt, _offset, _index,"
            " inserted_at, person_id)"
            " SELECT reinterpretAsUUID(MD5(concat('uuid', toString(number)))),"
            f" {list(NAMES)}[1 + least({len(NAMES) - 1}, cityHash64(number, 2) % 13)], '{{}}',"
            f" arrival - toIntervalSecond(cityHash64(number, 3) % 120 + {86_400 * copy}), {_TEAM},"
            f" concat('user-', toString(cityHash64(number, 5) % 1000000)) AS who, {self._arrival('number')} AS arrival,"
            f" {_RECEIPT} + {int(copy)}, number * 1000, 0,"
            f" {self._arrival(f'intDiv(number, {RECEIPT_ROWS}) * {RECEIPT_ROWS}')} + toIntervalSecond({2 + 30 * copy}),"
            f" reinterpretAsUUID(MD5(who)) FROM ({numbers}) SETTINGS max_insert_block_size = 250000"
        )

    def fill(self, first: int, last: int, at_once: int = 500_000) -> None:
        """Insert events `[first, last)`."""
        for start in range(first, last, at_once):
            self.insert(f"SELECT number FROM numbers({start}, {min(at_once, last - start)})")

    def account(self) -> None:
        """Write receipts and outcomes for all rows."""
        self.client.command(
            "INSERT INTO receipts (receipt, status, run, source, start, end, messages)"
            f" SELECT {_RECEIPT}, 'acknowledged', toUUID('01935b1e-7c5a-7def-8123-456789abcdef'), 'f', number, number + {RECEIPT_ROWS}, 1"
            f" FROM numbers(0, {self.rows}, {RECEIPT_ROWS})"
        )
        self.client.command(
            "INSERT INTO outcomes (receipt, team_id, hour, outcome, reason, count)"
            f" SELECT {_RECEIPT} AS receipt, {_TEAM} AS team, toStartOfHour(toDateTime({self._arrival('number')}, 'UTC')) AS hour,"
            f" arrayJoin(['received', 'stored']), '', count() FROM numbers({self.rows}) GROUP BY receipt, team, hour"
        )

    def _arrival(self, number: str) -> str:
        return f"fromUnixTimestamp64Micro(toInt64({self._start} + {number} * {self._step}), 'UTC')"


_TEAM = f"1 + least(cityHash64(number, 4) % {TEAMS}, cityHash64(number, 41) % {TEAMS})"
_RECEIPT = f"cityHash64(intDiv(number, {RECEIPT_ROWS}))"
