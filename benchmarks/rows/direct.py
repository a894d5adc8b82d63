"""The naive pipeline where nobody names a runner. Beam then takes its oldest one: the others have no timers in processing time here.

That one keeps state in plain dicts, has one thread, and reads no unbounded source: it is for tests. It is a row all the same, since it is
what `beam.Pipeline()` does.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.rows import Job, Load
from benchmarks.rows.clickhouse import stored, warm_up
from benchmarks.rows.naive import run


@contextmanager
def ready(load: Load, folder: str) -> Iterator[Job]:
    """Yield the job."""
    sink = warm_up(folder)
    yield Job(lambda: run(load.files, sink, None), lambda: stored(sink))
