"""How long to wait for a system that is away: an attempt comes in, its result or its last `Unavailable` goes out."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, TypeVar

import tenacity

from schemas.errors import Unavailable
from transforms.activity import Call, outside

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_backoff = tenacity.wait_random_exponential(multiplier=0.25, min=0.05, max=10)


@dataclass(frozen=True)
class Patience:
    """Try again while a system is unavailable, with exponential back-off and full jitter, for a bounded time.

    Args:
        seconds: from the first attempt to the start of the last one.
        sleep, clock: for tests; both in seconds.
    """

    seconds: float = 60
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def persist(self, attempt: Callable[[], _T]) -> _T:
        """Return what `attempt` returns, trying again when it raises `Unavailable`.

        Raises:
            Unavailable: the last attempt's, with the number of attempts.
        """
        deadline = self.clock() + self.seconds
        with outside() as call:
            retrying = tenacity.Retrying(
                retry=tenacity.retry_if_exception_type(Unavailable),
                wait=lambda state: min(_backoff(state), max(deadline - self.clock(), 0)),
                stop=lambda _state: self.clock() >= deadline,
                sleep=self.sleep,
                before_sleep=lambda state: _warn(state, call),
                retry_error_callback=self._give_up,
            )
            return retrying(attempt)

    def _give_up(self, state: tenacity.RetryCallState) -> NoReturn:
        raise Unavailable(f"{_last_error(state)} (gave up after {state.attempt_number} attempts in {self.seconds:g} s)")


def _warn(state: tenacity.RetryCallState, call: Call) -> None:
    call.failed()
    _log.warning("%s; attempt %d, the next in %.1f s", _last_error(state), state.attempt_number, state.upcoming_sleep)


def _last_error(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
