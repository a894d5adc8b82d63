"""Health checks and metrics of a stream over HTTP: `/healthz`, `/readyz`, `/metrics`."""

import asyncio
import http.client
import io
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import time
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family

from runners.status import Status
from schemas.errors import ConfigError
from transforms.metrics import Metric

TEXT = "text/plain; charset=utf-8"
SECONDS = 5.0  # that a connection may take, from its first byte to its last
LONGEST_HEAD = 16 << 10  # bytes of a request; with a body or without, no more is read
CONNECTIONS = 64  # at once: of more, the oldest is closed


class Answer(NamedTuple):
    """What a request gets."""

    status: str
    kind: str
    body: bytes


class Watched(Protocol):
    """What is told; see runners/supervisor.py."""

    status: Status
    restarts: int
    hung: int
    breaker: str

    def totals(self) -> dict[str, int]:
        """Return all counters."""

    @property
    def reason(self) -> str:
        """Why no events are brought to their end now; nothing while they are."""


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
        yield CounterMetricFamily("sluice_workers_hung", "workers killed since they hung", value=self._watched.hung)
        yield GaugeMetricFamily("sluice_worker_running", "whether events are brought to their end", value=float(not self._watched.reason))
        yield GaugeMetricFamily(
            "sluice_breaker_open", "whether too much is rejected by a fault of our own", value=float(bool(self._watched.breaker))
        )
        messages = GaugeMetricFamily("sluice_lag_messages", "messages that are not acknowledged", labels=["split"])
        seconds = GaugeMetricFamily("sluice_lag_seconds", "age of the oldest message that is not acknowledged", labels=["split"])
        age = GaugeMetricFamily("sluice_lag_age_seconds", "time since the lag of a split was measured", labels=["split"])
        receipts = GaugeMetricFamily("sluice_receipts_in_flight", "receipts at work", labels=["split"])
        for split, lag in status.lags.items():
            if lag.messages >= 0:
                messages.add_metric([split], lag.messages)
            seconds.add_metric([split], lag.seconds)
            receipts.add_metric([split], lag.receipts)
            age.add_metric([split], max(0.0, time() - status.measured.get(split, 0.0)))
        yield from (messages, seconds, age, receipts)
        steps = CounterMetricFamily("sluice_step_seconds", "time spent in a step by the worker of now", labels=["step"])
        for step, spent in status.steps.items():
            steps.add_metric([step], spent)
        memory = GaugeMetricFamily("sluice_memory_bytes", "resident memory", labels=["process"])
        for name, rss in status.rss.items():
            memory.add_metric([name], rss)
        yield from (steps, memory)


class _Server:
    """Answers requests, one a connection. Whoever is slow, large or one of too many is cut off, and nobody else waits for it.

    Args:
        answer: gives status, content type and body for a path and the media types that are accepted.
    """

    def __init__(self, answer: Callable[[str, str], Answer]) -> None:
        self._answer = answer
        self._open: dict[asyncio.StreamWriter, None] = {}  # oldest first

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the request of a connection."""
        self._open[writer] = None
        if len(self._open) > CONNECTIONS:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()
        try:
            async with asyncio.timeout(SECONDS):
                writer.write(self._response(await reader.readuntil(b"\r\n\r\n")))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, EOFError, asyncio.LimitOverrunError, OSError):
            pass  # it was slow or large, or has gone: no answer is owed
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()

    def _response(self, head: bytes) -> bytes:
        line, _, fields = head.partition(b"\r\n")
        try:
            method, target, version = line.decode("ascii").split(" ")
            accepted = http.client.parse_headers(io.BytesIO(fields)).get("Accept", "")
        except (ValueError, http.client.HTTPException):
            method, version = "", ""
        if not version.startswith("HTTP/1."):
            status, kind, body = Answer("400 Bad Request", TEXT, b"this is no HTTP/1.1\n")
        elif method not in ("GET", "HEAD"):
            status, kind, body = Answer("405 Method Not Allowed", TEXT, b"there are GET and HEAD\n")
        else:
            status, kind, body = self._answer(target.partition("?")[0], accepted)
        lines = (f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close", "", "")
        return "\r\n".join(lines).encode() + (b"" if method == "HEAD" else body)


def _answers(watched: Watched) -> Callable[[str, str], Answer]:
    registry = CollectorRegistry()
    registry.register(Collector(watched))

    def answer(path: str, accepted: str) -> Answer:
        if path == "/metrics":
            encode, kind = choose_encoder(accepted)
            return Answer("200 OK", kind, encode(registry))
        if path == "/healthz":
            return Answer("200 OK", TEXT, f"{watched.breaker or 'ok'}\n".encode())
        if path == "/readyz":
            reason = watched.reason
            return Answer("503 Service Unavailable" if reason else "200 OK", TEXT, f"{reason or watched.status.state}\n".encode())
        return Answer("404 Not Found", TEXT, b"there are /healthz, /readyz and /metrics\n")

    return answer


@contextmanager
def serve(watched: Watched, port: int | None, host: str = "127.0.0.1") -> Iterator[int | None]:
    """Answer requests while the block runs; give the port.

    Args:
        watched: what is told.
        port: 0 for any that is free, None for no server.
        host: the address that it listens on.

    Raises:
        ConfigError: there is no such address, or its port is taken.
    """
    if port is None:
        yield None
        return
    listener = _listen(host, port)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(_Server(_answers(watched)).serve, sock=listener, limit=LONGEST_HEAD))
    thread = threading.Thread(target=loop.run_forever, name="health", daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(_close(server))
        loop.close()


async def _close(server: asyncio.Server) -> None:
    server.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise ConfigError(
            f"health checks cannot listen on {host}:{port}: {error}", "choose another --health-port or --health-host"
        ) from error
