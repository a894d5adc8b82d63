"""The process's breaker: batches go by, and the one at which it opens raises."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from threading import Lock

from schemas.errors import BreakerOpen
from transforms.breaker.history import read_history, stream_of
from transforms.breaker.rules import History, judge, judge_few
from transforms.breaker.window import Seen, Window
from transforms.io.clickhouse import shared
from transforms.process import once_a_process

REFRESH_SECONDS = 600.0


class Breaker:
    """Judge batches before anything of them can be stored. Safe to use from many threads.

    Args:
        read: returns the history of a stream. It is asked when a stream first looks suspicious, and again when that is too old.
        share: of the events, that may be rejected.
        was_open: whether it was open when the process before this one ended.
    """

    def __init__(self, read: Callable[[str], History], share: float, was_open: bool = False) -> None:
        self._read = read
        self._share = share
        self._was_open = was_open
        self._lock = Lock()
        self._windows: dict[str, Window] = {}
        self._histories: dict[str, tuple[float, History]] = {}

    def check(self, seen: Seen) -> None:
        """Take in a batch.

        Raises:
            BreakerOpen: too much is rejected, by a fault of our own. The batch is forgotten: it comes again.
            Unavailable: the tables cannot be asked.
        """
        stream = stream_of(seen.source)
        with self._lock:
            window = self._windows.setdefault(stream, Window())
            why = judge(chain([seen], window.newest_first()), lambda: self._history(stream, seen.at), self._share)
            if not why and self._was_open:
                why = judge_few(chain([seen], window.newest_first()), self._share)
            if why:
                raise BreakerOpen(stream, why)
            window.add(seen)

    def _history(self, stream: str, now: float) -> History:
        read_at, history = self._histories.get(stream, (float("-inf"), {}))
        if now > read_at + REFRESH_SECONDS:
            history = self._read(stream)
            self._histories[stream] = now, history
        return history


@dataclass(frozen=True)
class BreakerAt:
    """How a process makes its breaker; all steps of a run share it.

    Args:
        sink: the ClickHouse URL whose tables hold the history.
        run: the run's UUID.
        share: of the events, that may be rejected: more than 0, and less than 1.
        was_open: as in Breaker.
    """

    sink: str
    run: str
    share: float
    was_open: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share is {self.share}, but must be more than 0 and less than 1")

    def breaker(self) -> Breaker:
        """Return this process's breaker."""
        return _breaker(self)


@once_a_process()
def _breaker(at: BreakerAt) -> Breaker:
    return Breaker(lambda stream: read_history(shared(at.sink), stream), at.share, at.was_open)
