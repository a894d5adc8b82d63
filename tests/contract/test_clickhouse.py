"""What every ClickHouse client must do, on the engine in the process, on the same engine as a server, and on a real server where it can."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest

from schemas import tables
from schemas.errors import ConfigError
from transforms.io.clickhouse import Client, QueryError, as_bytes, connect
from transforms.io.migrate import migrate

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
# Edges of each type that the tables' schemas use.
EDGES: dict[pa.DataType, list[Any]] = {
    tables.UUID: [bytes(range(16)), bytes(16), b"\xff" * 16, b"\x01\x9a\x00\xff\xfe\xfd\xfc\xfb\x80\x01\x02\x03\x04\x05\x06\x07"],
    pa.string(): ["", "a\x00b", "naïve 日本 😀", "line\nquote'\"\\\t"],
    pa.binary(): [b"", b"\x00", bytes(range(256)), b"\xff\xfe not UTF-8 \xc3\x28"],
    tables.TIME: [
        datetime(1900, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 3, 29, 1, 30, 0, 1, tzinfo=UTC),
        datetime(2299, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
    pa.int8(): [0, 1, 0, 1],
    pa.bool_(): [True, False, False, True],
    pa.int64(): [0, -1, -(2**63), 2**63 - 1],
    pa.uint32(): [0, 1, 2**31, 2**32 - 1],
    pa.uint64(): [0, 1, 2**63, 2**64 - 1],
}
SCHEMAS = {
    "events": tables.EVENTS,
    "receipts": tables.RECEIPTS,
    "outcomes": tables.OUTCOMES,
    "ingestion_warnings": tables.INGESTION_WARNINGS,
    "dead_letters": tables.DEAD_LETTERS,
}


@pytest.fixture(params=["chdb_url", "engine_url", "old_url"])
def any_client(request: pytest.FixtureRequest) -> Iterator[Client]:
    client = connect(request.getfixturevalue(request.param))
    yield client
    client.close()


@pytest.fixture(params=["chdb_url", "engine_url"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    client = connect(request.getfixturevalue(request.param))
    yield client
    client.close()


def edges(schema: pa.Schema) -> pa.Table:
    return pa.Table.from_arrays([pa.array(EDGES[field.type], field.type) for field in schema], schema=schema)


def events(count: int, seed: int = 1) -> pa.Table:
    """Return events of one hour that are all different."""
    ids = np.random.default_rng(seed).bytes(16 * count)
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)  # `usage` forgets old hours
    columns: dict[str, Any] = {
        "uuid": [ids[16 * i : 16 * i + 16] for i in range(count)],
        "event": ["$pageview"] * count,
        "properties": [b'{"n":%d}' % i for i in range(count)],
        "timestamp": [start + timedelta(microseconds=i) for i in range(count)],
        "distinct_id": [f"user-{i % 7}" for i in range(count)],
        "_timestamp": [start + timedelta(microseconds=i) for i in range(count)],
        "_index": range(count),
        "team_id": [1 + i % 3 for i in range(count)],
    }
    empty = {pa.string(): "", pa.bool_(): False, pa.binary(): b"", tables.UUID: bytes(16)}
    return pa.Table.from_arrays(
        [pa.array(columns.get(field.name, [empty.get(field.type, 0)] * count), field.type) for field in tables.EVENTS],
        schema=tables.EVENTS,
    )


# Round trips.


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_column_of_every_table_comes_back_exactly(client: Client, name: str) -> None:
    migrate(client)
    client.command(f"CREATE TABLE copy AS {name} ENGINE = MergeTree PRIMARY KEY tuple() ORDER BY tuple()")  # without expiry
    rows = edges(SCHEMAS[name])

    client.insert("copy", rows)

    for field in rows.schema:
        expression, expected = f"`{field.name}`", rows[field.name].to_pylist()
        if field.type == tables.UUID:
            expected = [UUID(bytes=value) for value in expected]
        elif field.type == pa.int8():
            expression = f"toInt8({expression})"
        elif field.type == pa.string():
            expected = [value.encode() for value in expected]
        elif field.name == "hour":
            expected = [EPOCH + timedelta(seconds=value) for value in expected]
        stored = client.columns(f"SELECT {expression} AS value FROM copy")["value"]
        assert sorted(stored) == sorted(expected), field.name
        assert {type(value) for value in stored} == {type(value) for value in expected}, field.name


def test_rows_stay_together(client: Client) -> None:
    migrate(client)
    rows = edges(tables.EVENTS)

    client.insert("events", rows)

    stored = client.rows("SELECT uuid, properties, toUnixTimestamp64Micro(timestamp), team_id, _receipt FROM events")
    assert sorted((uuid.bytes, as_bytes(text), *rest) for uuid, text, *rest in stored) == sorted(
        (row["uuid"], row["properties"], (row["timestamp"] - EPOCH) // MICROSECOND, row["team_id"], row["_receipt"])
        for row in rows.to_pylist()
    )


def test_what_old_servers_have_comes_back_exactly_too(any_client: Client) -> None:
    any_client.command(
        "CREATE TABLE t (u UUID, f FixedString(16), s String, b String, e Enum8('a' = 0, 'b' = 1), i Int64, n UInt64, h DateTime('UTC'))"
        " ENGINE = MergeTree ORDER BY tuple()"
    )
    kinds = [tables.UUID, tables.UUID, pa.string(), pa.binary(), pa.int8(), pa.int64(), pa.uint64(), pa.uint32()]
    rows = pa.table({name: pa.array(EDGES[kind], kind) for name, kind in zip("ufsbeinh", kinds, strict=True)})

    any_client.insert("t", rows)

    stored = any_client.rows("SELECT u, f, s, b, e, i, n, h FROM t ORDER BY n")
    assert stored == [
        (
            UUID(bytes=row["u"]),
            row["f"],
            row["s"],
            row["b"].decode("utf-8", "surrogateescape"),
            "ab"[row["e"]],
            row["i"],
            row["n"],
            EPOCH + timedelta(seconds=row["h"]),
        )
        for row in rows.to_pylist()
    ]


@pytest.mark.parametrize("form", ["slice", "chunks", "slice of chunks", "chunk without rows", "large strings"])
def test_rows_may_be_any_form_of_arrow_table(any_client: Client, form: str) -> None:
    any_client.command("CREATE TABLE t (u UUID, s String, b UInt8, n UInt64) ENGINE = MergeTree ORDER BY n")
    whole = pa.table(
        {
            "u": pa.array([bytes([i]) * 8 + bytes(range(8)) for i in range(40)], tables.UUID),
            "s": [f"text {i}" for i in range(40)],
            "b": pa.array([i % 3 for i in range(40)], pa.uint8()),
            "n": pa.array(range(40), pa.uint64()),
        }
    )
    rows = {
        "slice": whole.slice(3, 20),
        "chunks": pa.concat_tables([whole.slice(5, 3), whole.slice(0, 2), whole.slice(30, 10)]),
        "slice of chunks": pa.concat_tables([whole.slice(5, 9), whole.slice(20, 9)]).slice(7, 5),
        "chunk without rows": pa.concat_tables([whole.slice(0, 0), whole.slice(4, 4)]),
        "large strings": whole.set_column(1, "s", whole["s"].cast(pa.large_string())),
    }[form]

    any_client.insert("t", rows)

    expected = [(UUID(bytes=row["u"]), row["s"], row["b"], row["n"]) for row in rows.to_pylist()]
    assert any_client.rows("SELECT u, s, b, n FROM t ORDER BY n") == sorted(expected, key=lambda row: row[3])


def test_times_are_cut_to_the_column_s_unit(client: Client) -> None:
    client.command("CREATE TABLE t (s DateTime('UTC'), m DateTime64(3, 'UTC'), n DateTime64(9, 'UTC')) ENGINE = MergeTree ORDER BY tuple()")
    time = pa.array([1_700_000_000_123_999], pa.timestamp("us", "UTC"))

    client.insert("t", pa.table({"s": time, "m": time, "n": time}))

    assert client.rows("SELECT toUnixTimestamp(s), toUnixTimestamp64Milli(m), toUnixTimestamp64Nano(n) FROM t") == [
        (1_700_000_000, 1_700_000_000_123, 1_700_000_000_123_999_000)
    ]


def test_columns_that_are_not_named_get_their_defaults(client: Client) -> None:
    migrate(client)
    before = datetime.now(UTC)

    client.insert("events", events(1))

    ((inserted, version, receipt),) = client.rows("SELECT inserted_at, _version, _receipt FROM events")
    assert before <= inserted <= datetime.now(UTC)
    assert version == 2**64 - 1 - 4096 * ((inserted - EPOCH) // MICROSECOND) - (receipt >> 52)


def test_no_rows_are_no_insert(any_client: Client) -> None:
    any_client.command("CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n")

    any_client.insert("t", pa.table({"n": pa.array([], pa.uint64())}))

    assert any_client.rows("SELECT n FROM t") == []


def test_nulls_are_refused(any_client: Client) -> None:
    any_client.command("CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n")

    with pytest.raises(ValueError, match="column n: 1 nulls in 2 rows"):
        any_client.insert("t", pa.table({"n": pa.array([1, None], pa.uint64())}))

    assert any_client.rows("SELECT n FROM t") == []


def test_a_block_may_touch_any_number_of_partitions(client: Client) -> None:
    migrate(client)
    rows = events(300)
    months = pa.array([EPOCH + timedelta(days=31 * i) for i in range(300)], tables.TIME)

    client.insert("events", rows.set_column(3, "timestamp", months))

    assert client.rows("SELECT count() FROM events") == [(300,)]


# Repeated inserts.


def counts(client: Client) -> tuple[int, int, int]:
    ((stored, ids, used),) = client.rows(
        "SELECT (SELECT count() FROM events), (SELECT count() FROM event_ids), (SELECT sum(events) FROM usage)"
    )
    return stored, ids, used


def test_an_insert_with_the_same_token_is_stored_once(client: Client) -> None:
    migrate(client)

    client.insert("events", events(100), token="one")
    client.insert("events", events(100), token="one")

    assert counts(client) == (100, 100, 100)


def test_an_insert_with_another_token_is_stored_again(client: Client) -> None:
    migrate(client)

    client.insert("events", events(100), token="it's \\ one")
    client.insert("events", events(100), token="it's \\ two")

    assert counts(client) == (200, 200, 200)


def test_two_inserts_without_a_token_are_two(client: Client) -> None:
    migrate(client)

    client.insert("events", events(100))
    client.insert("events", events(100))

    assert counts(client) == (200, 200, 200)


def test_repeated_inserts_do_not_depend_on_the_defaults_of_the_server(client: Client) -> None:
    migrate(client)
    defaults = {
        "deduplicate_blocks_in_dependent_materialized_views": "0",
        "deduplicate_insert_select": "'enable_even_for_bad_queries'",
        "max_partitions_per_insert_block": "1",
    }
    for name, value in defaults.items():
        client.command(f"SET {name} = {value}")

    for token in ("one", "one", "", ""):
        client.insert("events", events(100), token)

    for name in defaults:
        client.command(f"SET {name} = DEFAULT")
    assert counts(client) == (300, 300, 300)


def test_a_large_insert_is_one_block(client: Client) -> None:
    client.command("CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 10")
    rows = pa.table({"n": pa.array(np.arange(1_500_000, dtype=np.uint64))})

    client.insert("t", rows, token="one")
    client.insert("t", rows, token="one")

    assert client.rows("SELECT count() FROM t") == [(1_500_000,)]
    assert client.rows("SELECT rows FROM system.parts WHERE table = 't' AND database = currentDatabase()") == [(1_500_000,)]


def test_what_a_failing_view_missed_is_made_up_for_by_the_next_try(client: Client) -> None:
    migrate(client)
    client.command("CREATE TABLE gate (open UInt8) ENGINE = MergeTree ORDER BY open")
    client.command("CREATE TABLE last (n UInt32) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 10")
    client.command(
        "CREATE MATERIALIZED VIEW last_mv TO last AS SELECT _index AS n FROM events WHERE throwIf((SELECT count() FROM gate) = 0) = 0"
    )

    with pytest.raises(QueryError, match="throwIf"):
        client.insert("events", events(100), token="one")
    client.insert("gate", pa.table({"open": pa.array([1], pa.uint8())}))
    client.insert("events", events(100), token="one")

    assert counts(client) == (100, 100, 100)
    assert client.rows("SELECT count() FROM last") == [(100,)]


# Reading.


def test_values_are_what_the_package_says(client: Client) -> None:
    sql = """
        SELECT 'é' AS s, unhex('ff00') AS raw, toFixedString('ab', 4) AS f, toLowCardinality('l') AS l, toNullable('n') AS n, NULL AS nil,
               toDateTime(1) AS d, toDateTime64('2299-12-31 23:59:59.999999', 6, 'Asia/Tokyo') AS t, ['x'] AS a, ('y', toDateTime(2)) AS p,
               map('k', 'v') AS m, toUUID('00010203-0405-0607-0809-0a0b0c0d0e0f') AS u, true AS b, toInt64(-1) AS i, 1.5 AS r,
               CAST('one' AS Enum8('one' = 1)) AS e, toDate('2026-01-02') AS day, toDecimal64('1.25', 2) AS c
    """
    (row,) = client.rows(sql)
    columns = client.columns(sql)

    names = ["s", "raw", "f", "l", "n", "nil", "d", "t", "a", "p", "m", "u", "b", "i", "r", "e", "day", "c"]
    assert list(columns) == names
    values = dict(zip(names, row, strict=True))
    assert (values["s"], values["raw"], values["f"]) == ("é", "\udcff\0", b"ab\0\0")
    assert (values["l"], values["n"], values["nil"]) == ("l", "n", None)
    assert as_bytes(values["raw"]) == b"\xff\0"
    assert values["d"] == EPOCH + timedelta(seconds=1)
    assert values["t"] == datetime(2299, 12, 31, 14, 59, 59, 999_999, tzinfo=UTC)
    assert values["t"].tzinfo is UTC
    assert (values["a"], values["p"], values["m"]) == (["x"], ("y", EPOCH + timedelta(seconds=2)), {"k": "v"})
    assert (values["u"], values["b"], values["i"], values["r"], values["e"]) == (UUID(bytes=bytes(range(16))), True, -1, 1.5, "one")
    assert (values["day"].isoformat(), str(values["c"])) == ("2026-01-02", "1.25")

    binary = {"s": "é".encode(), "raw": b"\xff\0", "l": b"l", "n": b"n", "a": [b"x"], "p": (b"y", values["p"][1]), "m": {b"k": b"v"}}
    assert columns == {name: [value] for name, value in (values | binary).items()}


def test_times_that_python_has_not_are_saturated(client: Client) -> None:
    sql = "SELECT reinterpret(toInt64({}), 'DateTime64(6, \\'UTC\\')')"

    assert client.rows(sql.format(2**62)) == [(datetime.max.replace(tzinfo=UTC),)]
    assert client.rows(sql.format(-(2**62))) == [(datetime.min.replace(tzinfo=UTC),)]


def test_an_empty_result_has_its_columns(client: Client) -> None:
    assert client.columns("SELECT 1 AS one, 'a' AS two WHERE 0") == {"one": [], "two": []}
    assert client.rows("SELECT 1 AS one, 'a' AS two WHERE 0") == []


def test_columns_of_the_same_name_are_all_in_a_row(client: Client) -> None:
    assert client.rows("SELECT n, n, 2 FROM (SELECT 1 AS n)") == [(1, 1, 2)]


def test_many_rows_come_in_order(any_client: Client) -> None:
    digits = "substring(toString(number + 10000000000000000), 2)"
    sql = f"SELECT number AS n, toFixedString({digits}, 16) AS f FROM system.numbers LIMIT 200000"

    columns = any_client.columns(sql)

    assert columns["n"] == list(range(200_000))
    assert columns["f"] == [b"%016d" % i for i in range(200_000)]


def test_statements_run_in_utc(client: Client) -> None:
    assert client.rows("SELECT toString(toDateTime(0)), toDateTime('1970-01-01 00:00:05'), timezone()") == [
        ("1970-01-01 00:00:00", EPOCH + timedelta(seconds=5), "UTC")
    ]


@pytest.mark.parametrize(
    "output_format", ["TSV", "TSVRaw", "TSVWithNames", "CSV", "CSVWithNames", "JSONEachRow", "TabSeparatedWithNamesAndTypes"]
)
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT number AS n, toString(number) || '\t\"' AS s, [1, 2] AS a, toDateTime(n) AS t FROM numbers(3) ORDER BY n DESC",
        "SELECT unhex('ff41') AS raw; ",
        "SELECT 1 AS one WHERE 0",
        "-- a comment\nWITH 1 AS x SELECT x -- and one at the end",
    ],
)
def test_a_server_formats_as_the_engine_does(chdb_url: str, engine_url: str, sql: str, output_format: str) -> None:
    embedded, server = connect(chdb_url), connect(engine_url)

    assert server.formatted(sql, output_format) == embedded.formatted(sql, output_format)
    embedded.close()
    server.close()


def test_statements_that_are_no_select_are_formatted(client: Client) -> None:
    client.command("CREATE TABLE some (n UInt64) ENGINE = MergeTree ORDER BY n")

    assert client.formatted("SHOW TABLES", "TSV") == b"some\n"
    assert client.formatted("SHOW TABLES LIKE 'none'", "TSV") == b""
    assert client.formatted("SHOW TABLES LIKE 'none'", "TSVWithNames") == b"name\n"
    assert client.formatted("EXISTS TABLE some", "CSV") == b"1\n"
    assert b"n\tUInt64" in client.formatted("DESCRIBE TABLE some", "TSVWithNames")
    assert client.formatted("TRUNCATE TABLE some", "TSV") == b""


def test_a_frame_is_drawn(client: Client) -> None:
    frame = client.formatted("SELECT arrayJoin([9, 10]) AS n, if(n = 9, 'x', '日本') AS s", "PrettyCompact").decode()

    for line in ("┌──n─┬─s────┐", "│  9 │ x    │", "│ 10 │ 日本 │", "└────┴──────┘"):
        assert line in frame


def test_an_unknown_format_is_refused(client: Client) -> None:
    with pytest.raises(ConfigError, match=r"unknown format 'Nonsense'\n.*CSVWithNames.*PrettyCompact"):
        client.formatted("SELECT 1", "Nonsense")


# Errors.


@pytest.mark.parametrize(
    ("sql", "code"),
    [("SELECT 1 FROM absent", 60), ("SELECT FROM WHERE", 62), ("DROP TABLE absent", 60), ("SELECT no_such_column", 47)],
)
def test_what_is_refused_is_refused_at_once(any_client: Client, sql: str, code: int) -> None:
    with pytest.raises(QueryError) as caught:
        any_client.rows(sql)

    assert caught.value.code == code
    assert sql in str(caught.value)
    assert "Stack trace" not in str(caught.value)


def test_an_insert_that_does_not_fit_is_refused(any_client: Client) -> None:
    any_client.command("CREATE TABLE t (n UInt64, e Enum8('a' = 0)) ENGINE = MergeTree ORDER BY n")
    number = pa.array([1], pa.uint64())

    with pytest.raises(QueryError, match=r"insert of 1 rows into absent.*absent"):
        any_client.insert("absent", pa.table({"n": number}))
    with pytest.raises(QueryError, match=r"insert of 1 rows into t\b.*other"):
        any_client.insert("t", pa.table({"other": number}))
    with pytest.raises(QueryError, match=r"insert of 1 rows into t\b.*7"):
        any_client.insert("t", pa.table({"n": number, "e": pa.array([7], pa.int8())}))

    any_client.insert("t", pa.table({"n": number}))
    assert any_client.rows("SELECT n FROM t") == [(1,)]


def test_rows_in_the_text_of_an_insert_are_refused(any_client: Client) -> None:
    any_client.command("CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n")

    with pytest.raises(QueryError, match=r"INSERT ... VALUES as text is not possible: use insert\(\)"):
        any_client.command("INSERT INTO t (n) VALUES (1)")

    any_client.command("INSERT INTO t SELECT 1")
    assert any_client.rows("SELECT n FROM t") == [(1,)]


# Use.


def test_many_threads_share_a_client(any_client: Client) -> None:
    any_client.command("CREATE TABLE t (n UInt64, s String) ENGINE = MergeTree ORDER BY n")
    errors: list[BaseException] = []

    def work(start: int) -> None:
        try:
            for n in range(start, start + 5):
                any_client.insert("t", pa.table({"n": pa.array([n] * 50, pa.uint64()), "s": [f"row {n}"] * 50}))
                assert any_client.rows(f"SELECT count(), any(s) FROM t WHERE n = {n}") == [(50, f"row {n}")]
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work, args=(100 * i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert any_client.rows("SELECT count() FROM t") == [(6 * 5 * 50,)]


def test_a_closed_client_opens_again(any_client: Client) -> None:
    any_client.command("CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n")
    any_client.insert("t", pa.table({"n": pa.array([1], pa.uint64())}))

    any_client.close()
    any_client.close()

    assert any_client.rows("SELECT n FROM t") == [(1,)]
