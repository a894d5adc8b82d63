"""The migrations: how scripts are taken apart, and that the tables are those that the code believes in."""

import itertools
import re
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import tables
from schemas.event import Event
from schemas.identity import unique_key
from schemas.tables import migrations, split_statements
from transforms.io.clickhouse import Client
from transforms.sink.rows import event_rows

INSERTED = {
    "events": tables.EVENTS,
    "receipts": tables.RECEIPTS,
    "outcomes": tables.OUTCOMES,
    "positions": tables.POSITIONS,
    "ingestion_warnings": tables.INGESTION_WARNINGS,
    "dead_letters": tables.DEAD_LETTERS,
    "files": tables.FILES,
}


def test_statements_are_separated_by_semicolons() -> None:
    assert split_statements("CREATE TABLE a\n(b Int8);\n\nDROP TABLE c") == ("CREATE TABLE a\n(b Int8)", "DROP TABLE c")


def test_comments_are_left_out_with_the_semicolons_in_them() -> None:
    assert split_statements("-- one; two\nSELECT 1 -- three; four\n, 2;\n-- end;") == ("SELECT 1 \n, 2",)


@pytest.mark.parametrize("script", ["", " \n", ";;", "-- nothing", "-- nothing;\n;\n"])
def test_a_script_without_statements_has_none(script: str) -> None:
    assert split_statements(script) == ()


@given(st.lists(st.from_regex(r"[A-Z][A-Z (),'\n0-9]*[A-Z)]", fullmatch=True)), st.lists(st.text("-; abc", max_size=9)))
def test_statements_come_back_in_order_whatever_comments_stand_between(statements: Sequence[str], comments: Sequence[str]) -> None:
    parts = [f"-- {comment}\n" for comment in comments]
    script = "".join(f"{parts[place % len(parts)] if parts else ''}{one};\n" for place, one in enumerate(statements))
    assert split_statements(script) == tuple(statements)


def test_versions_go_up_from_one_and_each_is_there_once() -> None:
    versions = [step.version for step in migrations()]
    assert versions[0] == 1
    assert all(before < after for before, after in itertools.pairwise(versions))


def test_migrations_are_in_order_of_version_however_the_folder_lists_them(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [tables.Migration(version, "x", ()) for version in (10, 2, 9, 1)]
    monkeypatch.setattr(tables, "_read_migrations", lambda: iter(steps))
    assert [step.version for step in migrations()] == [1, 2, 9, 10]


def test_every_statement_can_be_run_twice() -> None:
    """A migration that was interrupted starts again from its beginning."""
    repeatable = re.compile(
        r"REBUILD TABLE \w+ BY \w+|INSERT INTO (unchecked_ids|files)\b|(CREATE|ALTER|DROP) .*\b(IF NOT EXISTS|IF EXISTS|OR REPLACE)\b"
        r"|ALTER TABLE \w+\s+(MODIFY |REMOVE TTL)",
        re.DOTALL,
    )
    refused = [one for step in migrations() for one in step.statements if not repeatable.match(one)]
    assert refused == []


def test_a_table_has_the_columns_that_are_inserted(client: Client) -> None:
    for name, schema in INSERTED.items():
        columns = {row[0]: row[1] for row in client.rows(f"DESCRIBE TABLE {name}")}
        assert set(schema.names) <= columns.keys(), name
        expected = {field.name: _clickhouse(field) for field in schema}
        assert {column: kind for column, kind in columns.items() if not re.fullmatch(expected.get(column, ".*"), kind)} == {}, name


def _clickhouse(field: pa.Field) -> str:
    """Return a pattern for the ClickHouse type that an Arrow field goes into."""
    return {
        tables.UUID: "UUID",
        tables.TIME: r"DateTime64\(6, 'UTC'\)",
        pa.string(): r"String|LowCardinality\(String\)",
        pa.binary(): "String",
        pa.int8(): "Enum8.*",
        pa.int64(): "Int64",
        pa.uint32(): r"UInt32|DateTime\('UTC'\)",
        pa.uint64(): "UInt64",
        pa.bool_(): "Bool",
    }[field.type]


IDS = [
    (team, uuid)
    for team in (1, 0, -1, 256, 2**63 - 1, -(2**63))
    for uuid in (bytes(16), b"\xff" * 16, bytes(range(16)), bytes(15) + b"\x01", b"\x01" + bytes(15))
]


def test_the_table_of_ids_computes_the_same_key_as_python(client: Client) -> None:
    """Also where a team or a uuid ends in zero bytes, which a database could strip."""
    client.insert("events", event_rows([Event(*one, "e", "d", 0, 0, b"{}", "", False, 0, 0, place, 0) for place, one in enumerate(IDS)]))
    rows = client.rows("SELECT bucket, id FROM event_ids ORDER BY _offset")
    keys = [unique_key(*one) for one in IDS]
    assert rows == [(key[0], key) for key in keys]
