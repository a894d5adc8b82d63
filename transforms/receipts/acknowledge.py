"""`AcknowledgeReceipts`: reports in, and for each receipt that balances its rows in `outcomes` and `receipts`."""

from collections.abc import Iterable
from dataclasses import dataclass

import apache_beam as beam
import msgspec
from apache_beam.coders import BytesCoder
from apache_beam.transforms.userstate import (
    AccumulatingRuntimeState,
    BagStateSpec,
    ReadModifyWriteRuntimeState,
    ReadModifyWriteStateSpec,
)

from schemas.outcomes import Report
from transforms.metrics import Metric, count, timed
from transforms.process import once_a_process
from transforms.receipts.accounts import Account, Accounts
from transforms.receipts.ledger import Ledger
from transforms.state.shard_log import Head, Indexes, Log, new_generation

# A shard's log is rewritten when it is more than twice its live size, and not for a few reports.
MIN_REPORTS = 64

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Report).decode


@dataclass
class AcknowledgeReceipts(beam.PTransform):
    """A PTransform that completes receipts: when all that was read has an outcome that is durable, it says so in the tables.

    `PCollection[Report]` -> nothing. Reports of a receipt come in any order and over any time. A receipt that does not
    balance is never acknowledged.

    Args:
        ledger: where it is written.
        shards: the number of shards of receipts, fixed for the life of a job.
    """

    ledger: Ledger
    shards: int = 16

    def __post_init__(self) -> None:
        super().__init__()
        if self.shards < 1:
            raise ValueError(f"shards is {self.shards}, but must be at least 1")

    def expand(self, reports: beam.PCollection) -> beam.PCollection:
        """Wire the step."""
        return (
            reports
            | "KeyByShard" >> beam.ParDo(_KeyByShardFn(self.shards)).with_output_types(tuple[int, Report])
            | "Acknowledge" >> beam.ParDo(_AcknowledgeFn(self.ledger)).with_output_types(None)
        )


class _KeyByShardFn(beam.DoFn):
    def __init__(self, shards: int) -> None:
        self._shards = shards

    def process(self, report: Report) -> Iterable[tuple[int, Report]]:
        return [(report.receipt % self._shards, report)]


class ShardHead(msgspec.Struct, array_like=True):
    """A shard's head: its generation, and how many reports its log holds."""

    generation: int = 0
    reports: int = 0


def add_report(indexes: Indexes[Accounts], shard: int, report: Report, head: Head, log: Log) -> Account | None:
    """Add a report to its shard's log and index; return its account if that is complete now."""
    state = msgspec.msgpack.decode(head.read() or b"\x90", type=ShardHead)
    accounts = indexes.get(shard, state.generation)
    if accounts is None:
        accounts = Accounts(_decode(chunk) for chunk in log.read())
    complete = accounts.add(report)
    log.add(_encode(report))
    state.reports += 1
    if state.reports > 2 * len(accounts) + MIN_REPORTS:
        live = accounts.reports()
        log.clear()
        for one in live:
            log.add(_encode(one))
        state.reports = len(live)
    state.generation = new_generation()
    head.write(_encode(state))
    indexes.put(shard, state.generation, accounts)
    return complete


@once_a_process()
def _indexes(ledger: Ledger) -> Indexes[Accounts]:  # noqa: ARG001 - the cache's key
    """Return the process's indexes of a run."""
    return Indexes()


class _AcknowledgeFn(beam.DoFn):
    HEAD = ReadModifyWriteStateSpec("head", BytesCoder())  # overwritten with each report
    LOG = BagStateSpec("log", BytesCoder())  # rewritten without the receipts that are complete

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def start_bundle(self) -> None:
        self._complete: list[Account] = []

    def process(
        self,
        element: tuple[int, Report],
        head: ReadModifyWriteRuntimeState = beam.DoFn.StateParam(HEAD),
        log: AccumulatingRuntimeState = beam.DoFn.StateParam(LOG),
    ) -> None:
        shard, report = element
        complete = add_report(_indexes(self._ledger), shard, report, head, log)
        if complete is not None:
            self._complete.append(complete)

    def finish_bundle(self) -> None:
        with timed("AcknowledgeReceipts"):
            self._ledger.acknowledge(self._complete)
        count(Metric.RECEIPTS_ACKNOWLEDGED, len(self._complete))
