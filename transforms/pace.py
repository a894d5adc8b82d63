"""A rate in, waits out that keep to it."""

from collections.abc import Callable
from time import monotonic, sleep


class Pace:
    """Hold work back to a rate, from now on.

    Args:
        rate: things a second; None for as fast as it goes.
        clock, sleep: for tests; both in seconds.
    """

    def __init__(self, rate: float | None, clock: Callable[[], float] = monotonic, sleep: Callable[[float], None] = sleep) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._began = clock()

    def wait(self, done: int) -> None:
        """Wait until it is time for more than the `done` things since the start."""
        if self._rate:
            self._sleep(max(0.0, self._began + done / self._rate - self._clock()))


def at_once(rate: float | None, seconds: float, most: int) -> int:
    """Return how many things go together: what is due in so many seconds, one at least and `most` at most."""
    return max(1, min(most, round(rate * seconds))) if rate else most
