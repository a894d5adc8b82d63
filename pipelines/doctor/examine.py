"""All checks of a deployment, one after the other."""

from collections.abc import Callable, Sequence
from functools import partial
from time import time_ns

from pipelines.doctor import server, tables
from pipelines.doctor.finding import Finding, Level
from pipelines.doctor.registry import check_registry
from pipelines.doctor.source import check_source
from schemas.errors import ConfigError, SluiceError
from transforms.io.clickhouse import Client
from transforms.io.migrate import schema_version

OF_SERVER = (
    server.check_schema,
    server.check_disks,
    server.check_parts,
    server.check_read_only,
    server.check_mutations,
)
OF_TABLES = (
    server.check_insert_window,
    tables.check_window,
    tables.check_arrivals,
    tables.check_compaction,
    tables.check_dropped_days,
    tables.check_receipts,
    tables.check_positions,
    tables.check_letters,
    tables.check_unknown_tokens,
)


def examine(client: Client, sources: Sequence[str] = (), teams: str = "") -> list[Finding]:
    """Return the findings, the good ones too.

    Args:
        client: where the tables are.
        sources: streams that are read.
        teams: the registry's file, or `open`, or nothing.
    """
    findings = _tried("version", partial(server.check_version, client))
    if findings[0].level != Level.FAILURE:
        findings += _tried("clock", partial(server.check_clock, client, lambda: time_ns() // 1000))
        for check in (*OF_SERVER, *(OF_TABLES if schema_version(client) else ())):
            findings += _tried(check.__name__.removeprefix("check_").replace("_", " "), partial(check, client))
    if teams:
        findings.append(check_registry(teams))
    for source in sources:
        findings += _tried("source", partial(check_source, source))
    return findings


def _tried(name: str, check: Callable[[], Finding | list[Finding]]) -> list[Finding]:
    """Return what a check finds, or that it could not be made."""
    try:
        found = check()
    except ConfigError as error:
        return [Finding(name, Level.FAILURE, error.problem, error.hint)]
    except SluiceError as error:
        return [Finding(name, Level.FAILURE, str(error), "is it running, and reachable from here?")]
    return found if isinstance(found, list) else [found]
