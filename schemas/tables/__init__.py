"""The tables: versioned DDL (`NNNN_name.sql`, applied in order by `sluice migrate`) and the columns that jobs insert."""

import re
from collections.abc import Iterator
from importlib.resources import files
from typing import NamedTuple

import pyarrow as pa

from schemas.limits import MAX_GROUP_TYPES

TIME = pa.timestamp("us", tz="UTC")
UUID = pa.binary(16)  # most significant byte first

MIGRATIONS_TABLE = """
CREATE TABLE IF NOT EXISTS sluice_migrations
(version UInt32, name String, applied_at DateTime64(6, 'UTC') DEFAULT now64(6))
ENGINE = ReplacingMergeTree ORDER BY version
"""

EVENTS = pa.schema(
    {
        "uuid": UUID,
        "event": pa.string(),
        "properties": pa.binary(),
        "timestamp": TIME,
        "team_id": pa.int64(),
        "distinct_id": pa.string(),
        "elements_chain": pa.string(),
        "person_mode": pa.int8(),
        "historical_migration": pa.bool_(),
        "_timestamp": TIME,
        "_receipt": pa.uint64(),
        "_offset": pa.uint64(),
        "_index": pa.uint32(),
        "person_id": UUID,
        "person_created_at": TIME,
        "person_properties": pa.binary(),
        **{f"$group_{place}": pa.string() for place in range(MAX_GROUP_TYPES)},
    }
)

_REGISTER = {"order": pa.int64(), "uuid": UUID, "value": pa.binary()}
FACTS = pa.schema(  # person_properties, person_links
    {
        "bucket": pa.uint8(),
        "person_id": UUID,
        "team_id": pa.int64(),
        "distinct_id": pa.string(),
        "kind": pa.int8(),
        "key": pa.string(),
        "own": pa.uint8(),
        **_REGISTER,
    }
)
GROUP_FACTS = pa.schema(  # group_properties
    {"team_id": pa.int64(), "group_type": pa.string(), "group_key": pa.string(), "kind": pa.int8(), "key": pa.string(), **_REGISTER}
)

RECEIPTS = pa.schema(
    {
        "receipt": pa.uint64(),
        "status": pa.int8(),
        "run": UUID,
        "source": pa.string(),
        "start": pa.uint64(),
        "end": pa.uint64(),
        "messages": pa.uint64(),
    }
)
OPEN, ACKNOWLEDGED = 0, 1  # receipts.status

OUTCOMES = pa.schema(
    {
        "receipt": pa.uint64(),
        "team_id": pa.int64(),
        "hour": pa.uint32(),
        "outcome": pa.int8(),
        "reason": pa.string(),
        "count": pa.uint64(),
    }
)

POSITIONS = pa.schema(
    {
        "source": pa.string(),
        "topic": pa.string(),
        "consumer_group": pa.string(),
        "run": UUID,
        "start": pa.uint64(),
        "why": pa.string(),
        "messages": pa.uint64(),
    }
)

INGESTION_WARNINGS = pa.schema(
    {
        "team_id": pa.int64(),
        "type": pa.string(),
        "key": pa.string(),
        "details": pa.string(),
        "count": pa.uint64(),
        "timestamp": TIME,
        "_receipt": pa.uint64(),
        "_offset": pa.uint64(),
    }
)

DEAD_LETTERS = pa.schema(
    {
        "team_id": pa.int64(),
        "reason": pa.string(),
        "step": pa.string(),
        "detail": pa.string(),
        "body": pa.binary(),
        "_timestamp": TIME,
        "_receipt": pa.uint64(),
        "_offset": pa.uint64(),
        "_index": pa.uint32(),
        "stamped": pa.bool_(),
        "attempt": pa.uint32(),
        "source": pa.string(),
        "origin_receipt": pa.uint64(),
        "origin_offset": pa.uint64(),
        "origin_index": pa.uint32(),
        "events": pa.uint32(),
    }
)

REPLAYS = pa.schema(
    {
        "team_id": pa.int64(),
        "reason": pa.string(),
        "_receipt": pa.uint64(),
        "_offset": pa.uint64(),
        "_index": pa.uint32(),
        "run": UUID,
        "replay_receipt": pa.uint64(),
        "replay_offset": pa.uint64(),
    }
)

FILES = pa.schema({"head": pa.uint64(), "size": pa.uint64(), "content": pa.string(), "name": pa.string(), "arrival": TIME})


class Migration(NamedTuple):
    """One step of the schema: its number, its name and its statements, in order."""

    version: int
    name: str
    statements: tuple[str, ...]


def migrations() -> list[Migration]:
    """Return all migrations in order of version."""
    return sorted(_read_migrations())


def _read_migrations() -> Iterator[Migration]:
    for file in files(__name__).iterdir():
        if found := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name):
            yield Migration(int(found[1]), found[2], split_statements(file.read_text()))


def split_statements(script: str) -> tuple[str, ...]:
    """Return the statements of a script: separated by `;`, without `--` comments. Neither may stand in a literal."""
    bare = re.sub(r"--.*", "", script)
    return tuple(part.strip() for part in bare.split(";") if part.strip())
