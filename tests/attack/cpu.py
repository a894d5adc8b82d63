"""A bound on the CPU time of a block, that ends it: what takes quadratic time would else go on for minutes."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HOSTILE = 3.0  # seconds: a hostile message may take one on a quiet machine; the same work is counted as two or three on a busy one


@contextmanager
def cpu_limit(seconds: float = HOSTILE) -> Iterator[None]:
    """Raise AssertionError in the block when this process has spent so much CPU time in it."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise AssertionError(f"more than {seconds:g} s of CPU")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
