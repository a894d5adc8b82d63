"""ClickHouse's clock, as a worker may ask for it with each batch: rows are compared by it, and machines' own clocks differ, and jump."""

from collections.abc import Callable
from time import monotonic

from transforms.io.clickhouse.frontier import Reader, moment

MEASURE_SECONDS = 30.0


class ServerClock:
    """Tell the time of rows (transforms/io/clickhouse/frontier.py): asked for now and then, and in between what has passed since.

    Args:
        client: whose.
        seconds: a clock that never jumps.
    """

    def __init__(self, client: Reader, seconds: Callable[[], float] = monotonic) -> None:
        self._client = client
        self._seconds = seconds
        self._asked: tuple[float, int] | None = None

    def now(self) -> int:
        """Return microseconds since 1970."""
        seconds = self._seconds()
        asked = self._asked
        if asked is None or seconds - asked[0] >= MEASURE_SECONDS:
            now = moment(self._client).now
            seconds = self._seconds()
            asked = self._asked = (seconds, now)
        return asked[1] + int((seconds - asked[0]) * 1e6)
