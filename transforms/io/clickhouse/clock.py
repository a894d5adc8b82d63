"""ClickHouse's clock, as a worker may ask for it with each batch: rows are compared by it, and machines' own clocks differ, and jump."""

from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

MEASURE_SECONDS = 30.0


class Reader(Protocol):
    """What is used of a ClickHouse client."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows."""


class ServerClock:
    """Tell ClickHouse's time: asked for now and then, and in between what has passed since.

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
            ((micros,),) = self._client.rows("SELECT toUnixTimestamp64Micro(now64(6))")
            asked = self._asked = (self._seconds(), int(micros))
        return asked[1] + int((seconds - asked[0]) * 1e6)
