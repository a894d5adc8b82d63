"""What a streaming job says of itself, second by second: a line of JSON from the process that works to the one that shows it."""

import msgspec

from transforms.metrics import Lag, Metric


class Status(msgspec.Struct):
    """The state of a worker.

    Attributes:
        state: `starting`, `running`, `stopping` or `breaker open`.
        run: the run's UUID.
        counters: by the name of the Metric, since the worker started.
        lags: by the name of the split.
        steps: wall seconds spent in each step since the worker started.
        rss: bytes of memory of the worker and of its runner.
        cpu: CPU seconds of both.
        breaker: why the breaker is open, or nothing.
        measured: when each lag was, by the name of the split; seconds since 1970.
        away_since: since when ClickHouse has not been reached, seconds since 1970; 0 while it is.
        stalled: seconds for which no thread has come on, though there was something to do and none waited for ClickHouse.
    """

    state: str
    run: str = ""
    counters: dict[str, int] = {}
    lags: dict[str, Lag] = {}
    steps: dict[str, float] = {}
    rss: dict[str, int] = {}
    cpu: dict[str, float] = {}
    breaker: str = ""
    measured: dict[str, float] = {}
    away_since: float = 0.0
    stalled: float = 0.0

    def count(self, metric: Metric) -> int:
        """Return a counter."""
        return self.counters.get(metric.value, 0)

    @property
    def outcomes(self) -> int:
        """How many events have an outcome."""
        ends = (Metric.EVENTS_STORED, Metric.EVENTS_DUPLICATED, Metric.EVENTS_LIMITED, Metric.EVENTS_REJECTED)
        return sum(map(self.count, ends))

    @property
    def lag(self) -> Lag:
        """The lag of all splits together: messages added up (-1 if no broker says), the oldest second, receipts added up."""
        known = [lag.messages for lag in self.lags.values() if lag.messages >= 0]
        return Lag(
            sum(known) if known else -1,
            max((lag.seconds for lag in self.lags.values()), default=0.0),
            sum(lag.receipts for lag in self.lags.values()),
        )


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Status).decode
