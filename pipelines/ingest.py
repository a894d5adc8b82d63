"""`sluice ingest`: raw events in, correct ClickHouse tables and a ledger that proves it out."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from pipelines.store import Store, StoreOptions, prepare_store, store_events
from schemas.errors import ConfigError
from transforms.breaker import BreakerAt
from transforms.io.files import FileLedger, ReadFiles, match
from transforms.io.pubsub.url import PubSubAt
from transforms.io.pubsub.url import parse as parse_pubsub
from transforms.io.streams import Limits, ReadStream, Split, is_stream, splits_of
from transforms.receipts import OpenReceipts
from transforms.runs import started_at

BATCH_SIZE = 4_000  # messages: with smaller batches the keyed step's fixed costs show
STREAM_ROWS = 16_000  # of an insert: so that one is under way while the rest of a bundle is worked on
BREAKER_SHARE = 0.5


class IngestOptions(PipelineOptions):
    """Options of the main job, besides those of StoreOptions. They work with any runner."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--source", action="append", help="files, folders, globs; kafka://host:port/topic?group=...; pubsub://project/sub"
        )
        parser.add_argument("--range_bytes", type=int, default=32 << 20, help="files are read in ranges of about so many bytes")
        parser.add_argument("--splits", type=int, help="parts in which a stream is read side by side, 2 by default")
        parser.add_argument(
            "--in_flight", type=int, default=10, help="receipts of a split that are at work at most; 0: the runner holds back"
        )
        parser.add_argument("--receipt_messages", type=int, default=4_000, help="messages of a stream that are read at once at most")
        parser.add_argument(
            "--breaker_share",
            type=float,
            default=BREAKER_SHARE,
            help="of a stream's events that may be rejected, 0.5 by default; 0: all",
        )
        parser.add_argument(
            "--breaker_was_open", action="store_true", help="of the process before this one: its first few events wait for more"
        )
        parser.add_argument("--allow_empty", action="store_true", help="do not refuse a source that matches no file")


@dataclass(frozen=True)
class IngestJob:
    """A job that was checked and can start.

    Attributes:
        store: where events are stored, and the run.
        sources: patterns of files.
        bytes: size of all files together.
        splits: of the streams that are read; then there are no files.
        subscription: what Dataflow reads by its own means.
        breaker: of a stream, unless it is turned off.
    """

    store: Store
    sources: list[str]
    bytes: int
    range_bytes: int
    allow_empty: bool
    splits: Sequence[Split] = field(default=())
    subscription: PubSubAt | None = None
    breaker: BreakerAt | None = None


def prepare(options: PipelineOptions) -> IngestJob:
    """Return the job that the options ask for.

    Raises:
        ConfigError: an option is missing or wrong, a source matches no file, the registry cannot be read, the sink cannot be
            written, or a server's schema is older than this version needs.
        Unavailable: the sink does not answer.
    """
    asked, sink = options.view_as(IngestOptions), options.view_as(StoreOptions).sink
    if not asked.source:
        raise ConfigError("--source is missing", "name files, as in --source 'events/*.jsonl'")
    if asked.range_bytes < 1:
        raise ConfigError(f"--range_bytes is {asked.range_bytes}", "ranges are at least one byte; the default is 33554432")
    if not 0 <= asked.breaker_share < 1:
        raise ConfigError(
            f"--breaker_share is {asked.breaker_share:g}", "it is a share of the events, less than 1; 0 turns the breaker off"
        )
    streams = [source for source in asked.source if is_stream(source)]
    if streams and len(streams) < len(asked.source):
        raise ConfigError("--source names streams and files", "a job reads either: run two, they may share the sink")
    files = match(asked.source, asked.allow_empty) if not streams else []
    store = prepare_store(options)
    if streams:
        store = replace(store, max_rows=STREAM_ROWS)
    limits = _limits(asked)
    by_dataflow = _subscription(options, streams)
    return IngestJob(
        store=store,
        sources=list(asked.source),
        bytes=sum(file.size for file in files),
        range_bytes=asked.range_bytes,
        allow_empty=asked.allow_empty,
        splits=[split for url in streams for split in splits_of(url, sink, str(store.run), limits, asked.splits)]
        if by_dataflow is None
        else [],
        subscription=by_dataflow,
        breaker=BreakerAt(sink, str(store.run), asked.breaker_share, asked.breaker_was_open) if streams and asked.breaker_share else None,
    )


def _subscription(options: PipelineOptions, streams: Sequence[str]) -> PubSubAt | None:
    """Return the subscription that Dataflow reads by its own means."""
    if options.view_as(StandardOptions).runner != "DataflowRunner" or not any(url.startswith("pubsub:") for url in streams):
        return None
    if len(streams) > 1:
        raise ConfigError(
            "--source names several streams", "on Dataflow a job reads one subscription: run one job for each, they may share the sink"
        )
    return parse_pubsub(streams[0])


def _limits(asked: PipelineOptions) -> Limits:
    for name, least in (("splits", 1), ("in_flight", 0), ("receipt_messages", 1)):
        value = getattr(asked, name)
        if value is not None and value < least:
            raise ConfigError(f"--{name} is {value}", f"it is at least {least}")
    return Limits(messages=asked.receipt_messages, in_flight=asked.in_flight)


def ingest(pipeline: beam.Pipeline, job: IngestJob) -> None:
    """Build the graph of the main job."""
    run, ledger = job.store.run, job.store.ledger
    if job.subscription is not None:
        from transforms.io.pubsub.read_pubsub import ReadPubSub  # Google's libraries are imported where they are used

        read = pipeline | "ReadPubSub" >> ReadPubSub(job.subscription) | "OpenReceipts" >> OpenReceipts(ledger)
    elif job.splits:
        read = pipeline | "ReadStream" >> ReadStream(job.splits) | "OpenReceipts" >> OpenReceipts(ledger)
    else:
        read = pipeline | "ReadFiles" >> ReadFiles(
            job.sources,
            str(run),
            started_at(run),
            range_bytes=job.range_bytes,
            batch_size=BATCH_SIZE,
            allow_empty=job.allow_empty,
            ledger=ledger,
            known=FileLedger(job.store.sink),
        )
    store_events(read, job.store, job.breaker)
