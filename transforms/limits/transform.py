"""`EnforceLimits`: batches in, the same batches with the events that are over a limit marked out."""

from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

import apache_beam as beam

from schemas.event import Batch
from transforms.io.clickhouse import shared
from transforms.io.registry import RegistrySource
from transforms.limits.quotas import Quotas
from transforms.limits.rules import Limiter
from transforms.limits.usage import Usage
from transforms.metrics import timed
from transforms.process import once_a_process
from transforms.retentions import DroppedDays


@dataclass
class EnforceLimits(beam.PTransform):
    """A PTransform that marks the events that are not to be stored.

    These are those of dropped tokens and distinct ids, what is over a team's quota, and what arrived on a day that `sluice retain` has
    dropped.

    `PCollection[Batch]` -> `PCollection[Batch]`, element by element. Marked events go on without their properties, to be counted where
    the others are stored; nothing waits for a global count. Quotas hold by hour of arrival, so that catching up a backlog
    is not punished, and by team, so that one team's flood does not change what another gets.

    Args:
        registry: the teams and their limits.
        sink: the ClickHouse URL whose `usage` table quotas are measured by.
        run: the run's UUID; all steps of a run share one account of what they let through.
        refresh: seconds for which a reading of that table is good.
    """

    registry: RegistrySource
    sink: str
    run: str
    refresh: float = 5.0

    def __post_init__(self) -> None:
        super().__init__()
        if self.refresh <= 0:
            raise ValueError(f"refresh is {self.refresh} s, but must be positive")

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """Wire the step."""
        return batches | "EnforceLimits" >> beam.ParDo(_EnforceLimitsFn(self)).with_output_types(Batch)


@once_a_process()
def _limiter(sink: str, run: str, refresh: float) -> Limiter:  # noqa: ARG001 - the cache's key
    """Return the process's limiter of a run: DoFn instances come and go."""
    return Limiter(Quotas(Usage(shared(sink)), refresh))


@once_a_process()
def _dropped(sink: str, run: str) -> DroppedDays:  # noqa: ARG001 - the cache's key
    """Return what the process knows of dropped days; a new run looks at once."""
    return DroppedDays(shared(sink))


class _EnforceLimitsFn(beam.DoFn):
    def __init__(self, step: EnforceLimits) -> None:
        self._registry = step.registry
        self._sink, self._run, self._refresh = step.sink, step.run, step.refresh

    def process(self, batch: Batch) -> Iterator[Batch]:
        limiter = _limiter(self._sink, self._run, self._refresh)
        with timed("EnforceLimits"):
            dropped = _dropped(self._sink, self._run).before()
            limited = limiter.enforce(batch, self._registry.current(), monotonic(), dropped)
        yield limited
