"""What the threads of this process do, for whoever watches it: whether they come on, and what they wait for outside of it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import time

LATE_SECONDS = 30.0  # of one call: then the other system counts as away, though it may still answer

# How often threads came a step further: a runner has `asked` a stream for more, a step has `worked` on something.
moves: Counter[str] = Counter()


class Call:
    """A call to another system.

    Attributes:
        began: seconds since 1970.
        failed_at: when it was first not to be reached, in seconds since 1970; 0 while it is.
    """

    def __init__(self) -> None:
        self.began = time()
        self.failed_at = 0.0

    def failed(self) -> None:
        """Say that the system is away, and that it will be tried again."""
        self.failed_at = self.failed_at or time()

    def away_since(self, now: float) -> float:
        """Return since when the system has been away; 0 while it is there."""
        return self.failed_at or (self.began if now - self.began > LATE_SECONDS else 0.0)


_calls: dict[int, Call] = {}
_given_up: list[float] = []  # since when it was away for calls that failed in the end; until one succeeds


@contextmanager
def outside() -> Iterator[Call]:
    """Say that this thread is in a call to another system, which has its own time-outs: it does not hang, however long that takes."""
    call = Call()
    _calls[id(call)] = call
    try:
        yield call
        _given_up.clear()
    except BaseException:
        if call.failed_at:
            _given_up.append(call.failed_at)
        raise
    finally:
        del _calls[id(call)]


def is_outside() -> bool:
    """Return whether any thread is in a call to another system."""
    return bool(_calls)


def away_since() -> float:
    """Return since when another system has been away, or has not answered, in seconds since 1970; 0 if none is."""
    now = time()
    return min(filter(None, [*(call.away_since(now) for call in _calls.copy().values()), *_given_up]), default=0.0)


class Stall:
    """How long nothing has come on although something should have.

    It is counted in looks, not by the clock: a process that did not run at all, and its machine, are not to blame.

    Args:
        seconds: between two looks.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._before = moves.copy()
        self._stalled = 0.0

    def look(self, is_work: bool) -> float:
        """Return the seconds for which nothing has come on.

        Args:
            is_work: whether receipts are in flight: then that the runner asks for more does not count, since it may do nothing else.
        """
        now = moves.copy()
        kinds = ("worked",) if is_work else ("worked", "asked")
        if any(now[kind] != self._before[kind] for kind in kinds):
            self._stalled = 0.0
        elif not is_outside():
            self._stalled += self._seconds
        self._before = now
        return self._stalled
