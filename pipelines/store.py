"""What jobs that store events share: the options of where to, and the steps from messages to tables."""

import argparse
from dataclasses import dataclass
from time import time_ns
from typing import Protocol
from uuid import UUID

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

from schemas.errors import ConfigError
from schemas.teams import OPEN
from transforms import coders  # noqa: F401 - registers them
from transforms.breaker import BreakerAt
from transforms.dedupe.filter import check_shards
from transforms.io.clickhouse import shared
from transforms.io.migrate import require_schema
from transforms.io.registry import RegistrySource, registry_source
from transforms.limits import EnforceLimits
from transforms.one_process import InOneProcess
from transforms.parse import ParseEvents
from transforms.persons import ApplyPersonProperties, ResolvePersons
from transforms.receipts import AcknowledgeReceipts, Ledger
from transforms.runs import new_run
from transforms.sink import StoreUnique

DEFAULT_SHARDS = 16
EMBEDDED_SHARDS = 1  # one process has all of them: then larger batches are cheaper
SEVERAL_PROCESSES = {"FlinkRunner", "DataflowRunner", "SparkRunner"}  # each with state that is its own
MAX_ROWS = 64_000  # of an insert: half of it costs a tenth more, twice as much 700 MiB more


class StoreOptions(PipelineOptions):
    """Options of every job that stores events. They work with any runner."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--sink", help="chdb:PATH, or clickhouse://user@host:port/database?password_env=VARIABLE&secure=true")
        parser.add_argument("--teams", help="the team registry's file, or open; open is the default with chdb:")
        parser.add_argument("--shards", type=int, help="shards of ids: a power of two up to 256; 1 with chdb:, else 16")
        parser.add_argument(
            "--one_process",
            action="store_true",
            help="call keyed steps one after the other, without the runner's shuffle and state; as streams on this machine do",
        )


@dataclass(frozen=True)
class Store:
    """Where a run stores events, checked.

    Attributes:
        run: the run's UUIDv7.
        sink: the ClickHouse URL.
        one_process: whether one process does all the work, and no bundle is run again.
        max_rows: of an insert.
    """

    run: UUID
    sink: str
    registry: RegistrySource
    shards: int
    one_process: bool = False
    max_rows: int = MAX_ROWS

    @property
    def ledger(self) -> Ledger:
        """The ledger of the run."""
        return Ledger(self.sink, str(self.run))


def prepare_store(options: PipelineOptions) -> Store:
    """Return where the options store events, for a run that starts now.

    Raises:
        ConfigError: an option is missing or wrong, the registry cannot be read, the sink cannot be written, or a server's
            schema is older than this version needs.
        Unavailable: the sink does not answer.
    """
    asked = options.view_as(StoreOptions)
    if not asked.sink:
        raise ConfigError("--sink is missing", "to try it out, use --sink chdb:FOLDER")
    try:
        check_shards(DEFAULT_SHARDS if asked.shards is None else asked.shards)
    except ValueError as error:
        raise ConfigError(f"--shards: {error}", "it is fixed for the life of a job") from error
    if asked.one_process:
        _check_one_process(options)
    client = shared(asked.sink)
    teams = asked.teams or (OPEN if client.embedded else "")
    if not teams or (teams == OPEN and not client.embedded):
        raise ConfigError(f"--teams is {teams or 'missing'}", "with a server, name the registry's file: --teams teams.toml")
    registry = registry_source(teams)
    require_schema(client)
    shards = asked.shards or (EMBEDDED_SHARDS if client.embedded else DEFAULT_SHARDS)
    return Store(new_run(time_ns() // 1000), asked.sink, registry, shards, asked.one_process)


def _check_one_process(options: PipelineOptions) -> None:
    name = options.view_as(StandardOptions).runner
    if name in SEVERAL_PROCESSES:
        raise ConfigError(
            f"--one_process with --runner={name}", "that runner has several workers, which would not know of each other: leave it out"
        )
    if options.view_as(DirectOptions).direct_runner_bundle_repeat:
        raise ConfigError(
            "--one_process with --direct_runner_bundle_repeat", "bundles are run again only with state in the runner: leave it out"
        )


class Read(Protocol):
    """What was read: `PCollection[Messages]`, and `PCollection[Report]` of how much each receipt holds."""

    messages: beam.PCollection
    reports: beam.PCollection


def store_events(read: Read, store: Store, breaker: BreakerAt | None = None) -> None:
    """Add the steps from messages to tables, and the accounting; of a stream also its breaker.

    Where one process does all, its runner's state lives and dies with what the process knows: a log of the shards there would cost
    memory and save nothing.
    """
    run, sink, shards = str(store.run), store.sink, store.shards
    log = not (shared(sink).embedded or store.one_process)

    # Events
    parsed = read.messages | "ParseEvents" >> ParseEvents(store.registry, breaker)
    limited = parsed.batches | "EnforceLimits" >> EnforceLimits(store.registry, sink, run)
    resolve = ResolvePersons(sink, run, shards, log)
    apply = ApplyPersonProperties(sink, run, shards, log)
    write = StoreUnique(sink, run, shards, log, store.max_rows)
    if store.one_process:
        stored = limited | "InOneProcess" >> InOneProcess([resolve, apply, write], run)
    else:
        stored = limited | "ResolvePersons" >> resolve | "ApplyPersonProperties" >> apply | "StoreUnique" >> write
    # Accounting
    reports = (read.reports, parsed.reports, stored) | "Reports" >> beam.Flatten()
    reports | "AcknowledgeReceipts" >> AcknowledgeReceipts(store.ledger)
