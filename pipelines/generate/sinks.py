"""Data files: JSON lines, plain or compressed, Avro and Parquet. A file has its name only when it is complete."""

import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from fastavro.write import Writer

from pipelines.generate.plan import Plan

_GZIP_LEVEL = 3
_ZSTD_LEVEL = 3
_SYNC_MARKER = b"sluice generate\n"  # 16 bytes; Avro's is random otherwise
_AVRO_BLOCK = 1_000_000  # bytes
_AVRO_CODECS = {"none": "null", "gzip": "deflate"}


class Sink(Protocol):
    """Write messages to a file."""

    def write(self, bodies: list[bytes], nows: list[bytes]) -> None:
        """Add messages, with their arrival if the shape has it beside the body, else with an empty list."""

    def close(self) -> None:
        """Write what is left; the file itself is closed by whoever opened it."""


@contextmanager
def open_sink(plan: Plan, path: Path) -> Iterator[Sink]:
    """Give a sink for a data file of the plan; a failure leaves no file."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            sink = _SINKS[plan.file_format](file, plan)
            yield sink
            sink.close()
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


class _Lines:
    def __init__(self, file: BinaryIO, plan: Plan) -> None:
        self._file: Any = file
        if plan.compression == "gzip":
            self._file = gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0)
        elif plan.compression == "zstd":
            self._file = zstandard.ZstdCompressor(_ZSTD_LEVEL).stream_writer(file, closefd=False)

    def write(self, bodies: list[bytes], nows: list[bytes]) -> None:  # noqa: ARG002
        self._file.write(b"\n".join(bodies) + b"\n")

    def close(self) -> None:
        self._file.close()


class _Avro:
    """Records of `body`, and in shape `http` of `now`."""

    def __init__(self, file: BinaryIO, plan: Plan) -> None:
        fields = [{"name": "body", "type": "bytes"}]
        if plan.shape == "http":
            fields.append({"name": "now", "type": "string"})
        schema = fastavro.parse_schema({"type": "record", "name": "Message", "fields": fields})
        codec = _AVRO_CODECS[plan.compression]
        self._writer = Writer(file, schema, codec=codec, sync_interval=_AVRO_BLOCK, sync_marker=_SYNC_MARKER)

    def write(self, bodies: list[bytes], nows: list[bytes]) -> None:
        for record in _records(bodies, nows):
            self._writer.write(record)

    def close(self) -> None:
        self._writer.flush()


def _records(bodies: list[bytes], nows: list[bytes]) -> Iterator[dict[str, Any]]:
    if not nows:
        return ({"body": body} for body in bodies)
    return ({"body": body, "now": now.decode()} for body, now in zip(bodies, nows, strict=True))


class _Parquet:
    """Columns as Avro's; a row group for each block of events."""

    def __init__(self, file: BinaryIO, plan: Plan) -> None:
        fields = [pa.field("body", pa.binary(), nullable=False)]
        if plan.shape == "http":
            fields.append(pa.field("now", pa.string(), nullable=False))
        self._schema = pa.schema(fields)
        # Bodies differ: a dictionary of them would only be tried and given up.
        self._writer = pq.ParquetWriter(file, self._schema, compression=plan.compression, use_dictionary=False)

    def write(self, bodies: list[bytes], nows: list[bytes]) -> None:
        columns: list[Any] = [bodies, [now.decode() for now in nows]]
        self._writer.write_table(pa.table(columns[: len(self._schema)], schema=self._schema))

    def close(self) -> None:
        self._writer.close()


_SINKS: dict[str, Callable[[BinaryIO, Plan], Sink]] = {"lines": _Lines, "avro": _Avro, "parquet": _Parquet}
