"""How a process that runs a job manages its memory. What that brings was measured on the whole path (docs/decisions.md, 31)."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

GARBAGE = (50_000, 20, 20)  # new objects before Python looks for cycles: events make none, but tens of thousands of objects a batch


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
