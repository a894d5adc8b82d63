"""Whether an insert is on the disk when it is acknowledged, or in memory: a setting of each table (docs/guarantees.md, Power cuts)."""

import shlex
from enum import StrEnum

from schemas.errors import ConfigError
from transforms.io.clickhouse import Client

# A merge replaces parts that are on the disk by one that must be so too, and a rename is on the disk when the folder is.
_SETTINGS = {"fsync_after_insert": 1, "fsync_part_directory": 1, "min_rows_to_fsync_after_merge": 1}
_IS_FSYNCED = " AND ".join(f"position(engine_full, '{name} = {value}') > 0" for name, value in _SETTINGS.items())
_OURS = "database = currentDatabase() AND engine LIKE '%MergeTree'"


class Durability(StrEnum):
    """What an acknowledged insert has survived."""

    NONE = "none"  # the death of ClickHouse
    FSYNC = "fsync"  # a power cut


def set_durability(client: Client, durability: Durability) -> None:
    """Have all tables acknowledge inserts so, the ledger and what materialized views fill too."""
    change = (
        f"MODIFY SETTING {', '.join(f'{name} = {value}' for name, value in _SETTINGS.items())}"
        if durability == Durability.FSYNC
        else f"RESET SETTING {', '.join(_SETTINGS)}"
    )
    for table in differing(client, durability):
        client.command(f"ALTER TABLE {table} {change}")


def differing(client: Client, durability: Durability) -> list[str]:
    """Return the tables that acknowledge inserts otherwise."""
    is_fsync = int(durability == Durability.FSYNC)
    rows = client.rows(f"SELECT name FROM system.tables WHERE {_OURS} AND ({_IS_FSYNCED}) != {is_fsync} ORDER BY name")
    return [name for (name,) in rows]


def require_durability(client: Client) -> None:
    """Make sure that the tables are as durable as the sink's URL says; if it says nothing, they may be as they are.

    Raises:
        ConfigError: names a table that differs, and the command that changes it.
    """
    if client.durability and (found := differing(client, Durability(client.durability))):
        raise ConfigError(
            f"{client.where}: durability={client.durability} is asked for, and {found[0]} is not so, nor {len(found) - 1} other tables",
            f"run: sluice migrate --sink {shlex.quote(client.where)} --durability {client.durability}",
        )
