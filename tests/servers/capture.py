"""What clients talk to: it puts the body of each request on a topic as it came, and answers as PostHog's capture service does."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple, Self

from confluent_kafka import Producer


class Request(NamedTuple):
    """What came, and how it was answered."""

    path: str
    agent: str
    encoding: str
    body: bytes
    status: int


class Capture:
    """Take requests on a port of 127.0.0.1; as a context manager.

    Args:
        servers, topic: where bodies go.
    """

    def __init__(self, servers: str, topic: str) -> None:
        self.requests: list[Request] = []
        self._refusals = 0
        self._topic = topic
        self._producer = Producer({"bootstrap.servers": servers, "linger.ms": 0, "log_level": 0})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("_Handler", (_Handler,), {"capture": self}))
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def refuse_next(self) -> None:
        """Answer 503 to the next request, whose body is on the topic by then: a client must send it again."""
        self._refusals += 1

    def take(self, path: str, agent: str, encoding: str, body: bytes) -> int:
        """Put a body on the topic; return the status of the answer."""
        self._producer.produce(self._topic, body)
        if self._producer.flush(30):
            raise RuntimeError("the broker did not take a request")
        refused = self._refusals > 0
        self._refusals -= refused
        status = 503 if refused else 200
        self.requests.append(Request(path, agent, encoding, body, status))
        return status

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    capture: Capture
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = self.headers
        status = self.capture.take(self.path, headers["User-Agent"], headers.get("Content-Encoding", ""), body)
        answer = b'{"status":"Ok"}' if status == 200 else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Write no line a request."""
