"""Health checks and metrics of a stream over HTTP: `/healthz`, `/readyz`, `/metrics`."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.metrics_core import Metric as Family

from runners.status import Status
from transforms.metrics import Metric

TEXT = (("Content-Type", "text/plain; charset=utf-8"),)


class Watched(Protocol):
    """What is told; see runners/supervisor.py."""

    status: Status
    restarts: int
    breaker: str

    def totals(self) -> dict[str, int]:
        """Return all counters."""

    @property
    def is_ready(self) -> bool:
        """Whether a worker is at work."""


class Collector:
    """A job's metrics for Prometheus; their names stand in transforms/metrics.py, with `sluice_` before them."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched

    def collect(self) -> Iterable[Family]:
        """Yield all metrics."""
        status, totals = self._watched.status, self._watched.totals()
        for metric in Metric:
            yield CounterMetricFamily(f"sluice_{metric.value}", metric.value.replace("_", " "), value=totals.get(metric.value, 0))
        yield CounterMetricFamily("sluice_workers_restarted", "workers started after another failed", value=self._watched.restarts)
        yield GaugeMetricFamily("sluice_worker_running", "whether a worker is at work", value=float(self._watched.is_ready))
        yield GaugeMetricFamily(
            "sluice_breaker_open", "whether too much is rejected by a fault of our own", value=float(bool(self._watched.breaker))
        )
        messages = GaugeMetricFamily("sluice_lag_messages", "messages that are not acknowledged", labels=["split"])
        seconds = GaugeMetricFamily("sluice_lag_seconds", "age of the oldest message that is not acknowledged", labels=["split"])
        receipts = GaugeMetricFamily("sluice_receipts_in_flight", "receipts at work", labels=["split"])
        for split, lag in status.lags.items():
            if lag.messages >= 0:
                messages.add_metric([split], lag.messages)
            seconds.add_metric([split], lag.seconds)
            receipts.add_metric([split], lag.receipts)
        yield from (messages, seconds, receipts)
        steps = CounterMetricFamily("sluice_step_seconds", "time spent in a step by the worker of now", labels=["step"])
        for step, spent in status.steps.items():
            steps.add_metric([step], spent)
        memory = GaugeMetricFamily("sluice_memory_bytes", "resident memory", labels=["process"])
        for name, rss in status.rss.items():
            memory.add_metric([name], rss)
        yield from (steps, memory)


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Write no line a request."""


@contextmanager
def serve(watched: Watched, port: int | None) -> Iterator[int | None]:
    """Answer requests while the block runs; give the port.

    Args:
        watched: what is told.
        port: 0 for any that is free, None for no server.
    """
    if port is None:
        yield None
        return
    registry = CollectorRegistry()
    registry.register(Collector(watched))
    metrics = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            body: Iterable[bytes] = metrics(environ, start)
            return body
        if path == "/healthz":
            start("200 OK", [*TEXT])
            return [f"{watched.breaker or 'ok'}\n".encode()]
        if path == "/readyz":
            start("200 OK" if watched.is_ready else "503 Service Unavailable", [*TEXT])
            return [f"{watched.breaker or watched.status.state}\n".encode()]
        start("404 Not Found", [*TEXT])
        return [b"there are /healthz, /readyz and /metrics\n"]

    with make_server("", port, answer, server_class=ThreadingWSGIServer, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
        thread.start()
        try:
            yield int(server.server_port)
        finally:
            server.shutdown()
            thread.join()
