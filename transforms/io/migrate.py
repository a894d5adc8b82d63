"""The schema's migrations come in, and a database at the version that this code needs goes out."""

import shlex
import sys

from schemas import tables
from schemas.errors import ConfigError
from schemas.tables import Migration
from transforms.io.clickhouse import Client
from transforms.io.durability import Durability, differing, require_durability, set_durability
from transforms.io.rebuild import Progress, is_rebuild, rebuild


def migrate(client: Client, progress: Progress | None = None) -> list[Migration]:
    """Apply the migrations that a database lacks, in order, and return them; none if it is up to date.

    A migration is recorded when all of its statements have succeeded. One that was interrupted is run again from its beginning, as its
    statements allow: each of them says IF NOT EXISTS, or is otherwise the same the second time.

    Args:
        client: where.
        progress: is told how many rows of a table that must be copied are done.

    Raises:
        ConfigError: the database is of a newer version than this code, or cannot be migrated now.
        SluiceError: rows were written meanwhile; it can be run again.
    """
    client.command(tables.MIGRATIONS_TABLE)
    applied = _applied(client)
    _refuse_newer(client, max(applied, default=0))
    pending = [step for step in tables.migrations() if step.version not in applied]
    # A new database is as its URL says; an older one stays as it is, with its new tables.
    is_fsync = applied and "receipts" not in differing(client, Durability.FSYNC)
    durability = Durability.FSYNC if is_fsync or (not applied and client.durability == Durability.FSYNC) else Durability.NONE
    for step in pending:
        for statement in step.statements:
            if is_rebuild(statement):
                rebuild(client, statement, f"rebuilt by {step.version:04d}_{step.name}", progress)
            else:
                client.command(statement)
        client.command(f"INSERT INTO sluice_migrations (version, name) SELECT {step.version}, '{step.name}'")
    if pending and durability == Durability.FSYNC:
        set_durability(client, durability)
    return pending


def schema_version(client: Client) -> int:
    """Return the version of a database's schema: that up to which all migrations are applied, 0 if none is."""
    if client.rows("EXISTS TABLE sluice_migrations") == [(0,)]:
        return 0
    applied, known = _applied(client), [step.version for step in tables.migrations()]
    newest = max(applied, default=0)
    lacking = [version for version in known if version not in applied] if newest <= known[-1] else []
    return min(lacking) - 1 if lacking else newest


def _applied(client: Client) -> set[int]:
    return {int(version) for (version,) in client.rows("SELECT version FROM sluice_migrations")}


def require_schema(client: Client) -> None:
    """Make sure that the schema is the one that this code needs. An embedded database is migrated; a server is its operator's to migrate.

    Raises:
        ConfigError: a server's schema is older or newer, or the tables are not as durable as the URL asks for; names the command to run.
    """
    if client.embedded:
        migrate(client, _on_terminal)
        require_durability(client)
        return
    found, needed = schema_version(client), tables.migrations()[-1].version
    _refuse_newer(client, found)
    if found < needed:
        problem = f"{client.where}: the schema is at version {found}, this release needs {needed}"
        raise ConfigError(problem, f"run: sluice migrate --sink {shlex.quote(client.where)}")
    require_durability(client)


def _refuse_newer(client: Client, found: int) -> None:
    needed = tables.migrations()[-1].version
    if found > needed:
        problem = f"{client.where}: the schema is at version {found}, newer than {needed}, which this release knows"
        raise ConfigError(problem, "run a newer release of Sluice")


def _on_terminal(what: str, done: int, total: int) -> None:
    """Say how far a migration is, which nobody has asked for."""
    if total and sys.stderr.isatty():
        print(f"\rsluice: {what}: {done:,} of {total:,} rows ", end="\n" if done == total else "", file=sys.stderr, flush=True)
