import pytest

from transforms.io.clickhouse import QueryError
from transforms.io.clickhouse.statements import bare, is_select, literal, refuse_values


@pytest.mark.parametrize(
    "sql", ["SELECT 1", " \n select 1", "WITH 1 AS x SELECT x", "(SELECT 1)", "-- SHOW\nSELECT 1", "/* a\nb */ SELECT 1"]
)
def test_selects(sql: str) -> None:
    assert is_select(sql)


@pytest.mark.parametrize("sql", ["SHOW TABLES", "DESCRIBE t", "ALTER TABLE t DELETE WHERE 1", "SELECTED", "-- SELECT\nSHOW TABLES", ""])
def test_other_statements(sql: str) -> None:
    assert not is_select(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (1)",
        "insert  into db.t (a, `b`) values (1, 2)",
        "INSERT INTO t FORMAT CSV 1",
        "-- some\nINSERT INTO t (a) SETTINGS async_insert = 1 VALUES (1)",
    ],
)
def test_inserts_with_their_rows(sql: str) -> None:
    with pytest.raises(QueryError, match=r"use insert\(\)"):
        refuse_values(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t SELECT 1",
        "INSERT INTO t (a, b) SELECT * FROM values('a Int8', (1))",
        "INSERT INTO t SELECT 'INSERT INTO t VALUES (1)'",
        "ALTER TABLE t UPDATE a = 1 WHERE b IN (SELECT * FROM values('a Int8', 1))",
        "CREATE TABLE t (values Int8) ENGINE = Memory",
    ],
)
def test_statements_without_rows(sql: str) -> None:
    refuse_values(sql)


def test_texts() -> None:
    assert bare(" SELECT 1 ; \n") == "SELECT 1"
    assert literal("it's \\ so") == "'it\\'s \\\\ so'"
