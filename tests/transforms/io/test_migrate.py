from collections.abc import Iterator

import pytest

from schemas import tables
from schemas.errors import ConfigError
from schemas.tables import Migration
from transforms.io import migrate as module
from transforms.io.clickhouse import Client, QueryError, connect
from transforms.io.migrate import migrate, require_schema, schema_version

FIRST = Migration(1, "first", ("CREATE TABLE IF NOT EXISTS a (n UInt8) ENGINE = MergeTree ORDER BY n",))
SECOND = Migration(
    2,
    "second",
    (
        "CREATE TABLE IF NOT EXISTS b (n UInt8) ENGINE = MergeTree ORDER BY n",
        "ALTER TABLE a ADD COLUMN IF NOT EXISTS m UInt8",
    ),
)
BROKEN = SECOND._replace(statements=(SECOND.statements[0], "ALTER TABLE absent ADD COLUMN m UInt8"))


@pytest.fixture(params=["chdb_url", "engine_url"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    client = connect(request.getfixturevalue(request.param))
    yield client
    client.close()


def release(monkeypatch: pytest.MonkeyPatch, *steps: Migration) -> None:
    """Make this a release with these migrations."""
    monkeypatch.setattr(module.tables, "migrations", lambda: list(steps))


def recorded(client: Client) -> list[tuple[int, str]]:
    return [(version, name) for version, name in client.rows("SELECT version, name FROM sluice_migrations ORDER BY version")]


def names(client: Client) -> set[str]:
    return {row[0] for row in client.rows("SELECT name FROM system.tables WHERE database = currentDatabase()")}


def test_all_migrations_are_applied_and_recorded(client: Client) -> None:
    assert schema_version(client) == 0

    applied = migrate(client)

    assert applied == tables.migrations()
    assert schema_version(client) == tables.migrations()[-1].version
    assert recorded(client) == [(step.version, step.name) for step in tables.migrations()]
    assert {"events", "event_ids", "usage", "receipts", "outcomes", "ingestion_warnings", "dead_letters", "events_unique"} <= names(client)


def test_a_second_time_changes_nothing(client: Client) -> None:
    migrate(client)
    before = client.rows("SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() ORDER BY name")

    assert migrate(client) == []

    assert client.rows("SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() ORDER BY name") == before
    assert client.rows("SELECT count() FROM sluice_migrations") == [(len(tables.migrations()),)]


def test_only_what_is_missing_is_applied_in_order(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    release(monkeypatch, FIRST)
    assert migrate(client) == [FIRST]
    client.command("DROP TABLE a")
    client.command("CREATE TABLE a (n UInt8, kept UInt8) ENGINE = MergeTree ORDER BY n")

    release(monkeypatch, FIRST, SECOND)
    assert migrate(client) == [SECOND]

    assert recorded(client) == [(1, "first"), (2, "second")]
    assert [row[0] for row in client.rows("DESCRIBE TABLE a")] == ["n", "kept", "m"]


def test_what_was_left_out_is_applied_later(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two changes that were made side by side do not come in the order of their numbers."""
    third = Migration(3, "third", ("CREATE TABLE IF NOT EXISTS c (n UInt8) ENGINE = MergeTree ORDER BY n",))
    release(monkeypatch, FIRST, third)
    migrate(client)
    release(monkeypatch, FIRST, SECOND, third)
    assert schema_version(client) == 1
    assert migrate(client) == [SECOND]
    assert schema_version(client) == 3


def test_a_migration_that_fails_is_not_recorded_and_can_be_run_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    release(monkeypatch, FIRST, BROKEN)
    with pytest.raises(QueryError, match="absent"):
        migrate(client)
    assert recorded(client) == [(1, "first")]
    assert schema_version(client) == 1

    release(monkeypatch, FIRST, SECOND)
    assert migrate(client) == [SECOND]
    assert recorded(client) == [(1, "first"), (2, "second")]


def test_an_embedded_database_is_migrated_when_it_is_required(chdb_url: str) -> None:
    client = connect(chdb_url)

    require_schema(client)
    require_schema(client)

    assert schema_version(client) == tables.migrations()[-1].version
    client.close()


def test_a_server_is_not_migrated_but_told_of(engine_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = connect(engine_url)
    release(monkeypatch, FIRST)

    with pytest.raises(ConfigError) as caught:
        require_schema(client)

    assert caught.value.problem == f"{client.where}: the schema is at version 0, this release needs 1"
    assert caught.value.hint == f"run: sluice migrate --sink {client.where}"
    assert names(client) == set()

    migrate(client)
    require_schema(client)
    release(monkeypatch, FIRST, SECOND)
    with pytest.raises(ConfigError, match="at version 1, this release needs 2"):
        require_schema(client)
    client.close()


def test_a_schema_of_a_newer_release_is_left_alone(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    release(monkeypatch, FIRST, SECOND)
    migrate(client)
    release(monkeypatch, FIRST)

    for action in (migrate, require_schema):
        with pytest.raises(ConfigError, match=r"at version 2, newer than 1, which this release knows\nhint: run a newer release"):
            action(client)  # type: ignore[operator]
    assert recorded(client) == [(1, "first"), (2, "second")]


def test_the_hint_can_be_pasted_into_a_shell() -> None:
    class Server:
        where = "clickhouse://me@host:9440/db?secure=true"
        embedded = False

        def rows(self, sql: str) -> list[tuple[int]]:
            return [(0,)]

    with pytest.raises(ConfigError) as caught:
        require_schema(Server())  # type: ignore[arg-type]

    assert caught.value.hint == "run: sluice migrate --sink 'clickhouse://me@host:9440/db?secure=true'"
