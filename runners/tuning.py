"""How a process that runs a job manages its memory. What that brings was measured on the whole path (docs/decisions.md, 31)."""

import gc
import inspect
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
from apache_beam.runners.worker.statesampler import StateSampler

GARBAGE = (50_000, 20, 20)  # new objects before Python looks for cycles: events make none, but tens of thousands of objects a batch

SAMPLING_MS = 10


@contextmanager
def tuned() -> Iterator[None]:
    """Spend less on memory while a job runs.

    Python looks for cycles seldom, and never in what was there before. Columns come from the C library's heap: Arrow's own allocator gives
    pages back at once, and the kernel has to clear them for the next batch.
    """
    threshold, pool = gc.get_threshold(), pa.default_memory_pool()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(pool)
        gc.set_threshold(*threshold)
        gc.unfreeze()


def sample_often() -> None:
    """Have Beam's worker look every 10 ms which step it is in, instead of every 200.

    At the end of a bundle it waits for the thread that does, idly: a tenth of the time of a stream's bundles (docs/decisions.md, 31).
    Beam has no option for it, only a parameter's default.
    """
    parameters = [name for name, each in inspect.signature(StateSampler.__init__).parameters.items() if each.default is not each.empty]
    if parameters == ["sampling_period_ms"]:
        StateSampler.__init__.__defaults__ = (SAMPLING_MS,)
