"""`sluice replay`: dead letters in, the same tables and the same ledger as of the main job out (docs/letters.md)."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import apache_beam as beam
import msgspec
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.store import MAX_ROWS, Read, Store, prepare_store, store_events
from schemas.teams import Registry
from transforms.io.clickhouse import shared
from transforms.io.letters import Page, ReadLetters, Selection, checked, plan
from transforms.io.letters.pages import PAGE_LETTERS, Client, peek
from transforms.io.letters.selection import chosen
from transforms.pace import at_once
from transforms.parse.rules import parse_pieces
from transforms.receipts import OpenReceipts

# At a rate, letters go in pages of a second, and are stored every five.
PAGE_SECONDS, INSERT_SECONDS = 1.0, 5.0


@dataclass(frozen=True)
class ReplayJob:
    """A replay whose letters were chosen, and written down in `replays`.

    Attributes:
        store: where events are stored, and the run.
        pages: of letters; none if there is nothing to replay.
        rate: letters a second, or None.
    """

    store: Store
    pages: Sequence[Page]
    rate: float | None = None

    @property
    def selected(self) -> int:
        """How many letters."""
        return self.pages[-1].end if self.pages else 0


def prepare(options: PipelineOptions, selection: Selection, rate: float | None = None) -> ReplayJob:
    """Choose the letters; return the job that replays them.

    Raises:
        ConfigError: an option of StoreOptions is missing or wrong, or the selection's `where` is no condition.
        Unavailable: the sink does not answer.
    """
    store, client, selection = _checked(options, selection)
    pages = plan(client, store.run, selection, letters=at_once(rate, PAGE_SECONDS, PAGE_LETTERS))
    return ReplayJob(replace(store, max_rows=at_once(rate, INSERT_SECONDS, MAX_ROWS)), pages, rate)


def _checked(options: PipelineOptions, selection: Selection) -> tuple[Store, Client, Selection]:
    store = prepare_store(options)
    client = shared(store.sink)
    return store, client, checked(client, selection)


def replay(pipeline: beam.Pipeline, job: ReplayJob) -> None:
    """Build the graph of a replay."""
    letters = pipeline | "ReadLetters" >> ReadLetters(job.store.sink, str(job.store.run), job.pages, job.rate)
    read: Read = letters | "OpenReceipts" >> OpenReceipts(job.store.ledger)
    store_events(read, job.store)


class OfTeam(msgspec.Struct, frozen=True):
    """How many letters of a team, 0 for no known one, have a reason."""

    team_id: int
    reason: str
    letters: int


class Forecast(msgspec.Struct):
    """What a replay would do now.

    Attributes:
        selected: letters.
        letters: how many of them, by team and reason.
        accepted: events that ParseEvents would accept; whether they are duplicates or over a limit is not known yet.
        rejected: events, or messages, that it would reject again, by reason.
    """

    selected: int
    letters: list[OfTeam]
    accepted: int
    rejected: dict[str, int]


def forecast(options: PipelineOptions, selection: Selection, progress: Callable[[int], None] | None = None) -> Forecast:
    """Return what a replay would do now: the letters go through the rules with the registry of now, and nothing is written.

    Args:
        options: those of StoreOptions.
        selection: what would be replayed.
        progress: called with the number of letters done.

    Raises:
        ConfigError, Unavailable: as `prepare`.
    """
    store, client, selection = _checked(options, selection)
    return foresee(client, store.registry.current(), selection, progress)


def foresee(client: Client, registry: Registry, selection: Selection, progress: Callable[[int], None] | None = None) -> Forecast:
    """Return what a replay would do with a registry."""
    groups: Counter[tuple[int, str]] = Counter()
    again: Counter[str] = Counter()
    accepted = done = 0
    for some in chosen(client, selection):
        groups.update([(letter.team_id, letter.reason) for letter in some])
        for messages in peek(client, some):
            for batch, _, _ in parse_pieces(messages, registry):
                accepted += len(batch.events)
                for letter in batch.letters:
                    again[letter.reason] += letter.events
            done += len(messages.payloads)
            if progress is not None:
                progress(done)
    letters = [OfTeam(team, reason, count) for (team, reason), count in groups.most_common()]
    return Forecast(groups.total(), letters, accepted, dict(again.most_common()))
