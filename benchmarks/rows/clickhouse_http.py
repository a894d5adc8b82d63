"""Embedded ClickHouse behind HTTP: `python -m benchmarks.rows.clickhouse_http PORT FOLDER`. It inserts the lines of a POST."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from tempfile import NamedTemporaryFile
from threading import Lock

from benchmarks.rows.clickhouse import insert_file, stored, warm_up

# Browsers send it as a property.
WHO = "if(distinct_id != '', distinct_id, trim(BOTH '\"' FROM JSONExtractRaw(properties, 'distinct_id')))"


class _Handler(BaseHTTPRequestHandler):
    sink: str
    engine = Lock()
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Insert the body."""
        with NamedTemporaryFile() as body:
            body.write(self.rfile.read(int(self.headers["Content-Length"])))
            body.flush()
            with self.engine:
                insert_file(body.name, self.sink, WHO)
        self._answer(b"")

    def do_GET(self) -> None:
        """Tell how many rows there are."""
        with self.engine:
            self._answer(str(stored(self.sink)).encode())

    def _answer(self, text: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    _Handler.sink = warm_up(sys.argv[2])
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler).serve_forever()
