"""Avro files for tests, block by block, in codecs that fastavro cannot write by itself too."""

import bz2
import lzma
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import msgspec
import pyarrow as pa
import zstandard
from fastavro import schemaless_writer
from fastavro.read import HEADER_SCHEMA, MAGIC

SYNC = b"0123456789abcdef"


def _deflate(data: bytes) -> bytes:
    return zlib.compress(data)[2:-4]


def _snappy(data: bytes) -> bytes:
    return bytes(pa.Codec("snappy").compress(data, asbytes=True)) + zlib.crc32(data).to_bytes(4, "big")


CODECS: dict[str, Callable[[bytes], bytes]] = {
    "null": bytes,
    "deflate": _deflate,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "snappy": _snappy,
    "zstandard": zstandard.compress,
}


def record(**fields: Any) -> dict[str, Any]:
    """Return the schema of a record."""
    return {"type": "record", "name": "Record", "fields": [{"name": name, "type": kind} for name, kind in fields.items()]}


def header(schema: Any, codec: str | None = "null", sync: bytes = SYNC) -> bytes:
    file = BytesIO()
    meta = {"avro.schema": msgspec.json.encode(schema)}
    if codec is not None:
        meta["avro.codec"] = codec.encode()
    schemaless_writer(file, HEADER_SCHEMA, {"magic": MAGIC, "meta": meta, "sync": sync})
    return file.getvalue()


def encoded(schema: Any, value: Any) -> bytes:
    file = BytesIO()
    schemaless_writer(file, schema, value)
    return file.getvalue()


def block(schema: Any, records: list[Any], codec: str = "null", count: int | None = None) -> bytes:
    """Return a block without its sync marker."""
    return stored_block(b"".join(encoded(schema, one) for one in records), len(records) if count is None else count, codec)


def stored_block(data: bytes, count: int, codec: str = "null") -> bytes:
    return encoded("long", count) + encoded("bytes", CODECS[codec](data))


def container(schema: Any, blocks: list[list[Any]], codec: str = "null") -> bytes:
    """Return a whole file."""
    return header(schema, codec) + b"".join(block(schema, records, codec) + SYNC for records in blocks)
