"""Carry out a plan: data files in processes of their own, then the registry of teams and the truth."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pipelines.generate.batches import Batches
from pipelines.generate.draws import Ints
from pipelines.generate.faults import Faults
from pipelines.generate.plan import TEAMS_FILE, Plan, check, make_folders
from pipelines.generate.render import Renderer
from pipelines.generate.shapes import Captured, Events, Packer
from pipelines.generate.sinks import Sink, open_sink
from pipelines.generate.teams import QUOTA_TEAM
from pipelines.generate.traffic import Fate, Traffic
from pipelines.generate.truth import Judge, Tally, TeamTruth, tally_of, truth_by_team, truth_lines, write_truth

BLOCK = 10_000  # positions that are worked on at once
WORTH_A_PROCESS = 100_000  # events


@dataclass(frozen=True)
class Summary:
    """What was generated, and what must become of it.

    Attributes:
        events: in all; the sum of stored, duplicate, limited and rejected.
        messages: lines or records.
        bytes: of the data files.
        files: their paths.
        teams: the registry's path.
        truth: the truth file's path, if one was asked for.
        by_team: the outcomes by team; 0 for events of no known team.
    """

    events: int
    messages: int
    bytes: int
    files: list[str]
    teams: str
    truth: str | None
    stored: int
    duplicate: int
    limited: int
    rejected: int
    by_team: dict[int, TeamTruth]


@dataclass(frozen=True)
class _File:
    """What one data file turned out to be."""

    messages: int
    bytes: int
    tally: Tally


def generate(plan: Plan, progress: Callable[[int], None] | None = None, processes: int | None = None) -> Summary:
    """Write the data files, teams.toml and the truth file of a plan.

    The bytes depend on the plan alone. Files are made in parallel processes, started by `spawn`.

    Args:
        plan: what to generate.
        progress: called with the number of events written so far, after each file.
        processes: how many; one a core unless given.

    Raises:
        ConfigError: the plan cannot be carried out.
    """
    check(plan)
    make_folders(plan)
    files: list[_File] = []
    for file in _files(plan, processes):
        files.append(file)
        if progress is not None:
            progress(plan.span(len(files) - 1)[1])
    traffic = Traffic(plan)
    events_per_hour = traffic.events_per_hour()
    (Path(plan.out) / TEAMS_FILE).write_text(traffic.teams.registry(events_per_hour), encoding="utf-8")
    tally = Tally()
    for file in files:
        tally.add(file.tally)
    summary = _summary(plan, files, truth_by_team(tally, events_per_hour))
    if plan.truth is not None:
        parts = [_truth_part(plan, number) for number in range(plan.file_count)]
        write_truth(Path(plan.truth), _head(summary, tally, events_per_hour), parts)
    return summary


def _files(plan: Plan, processes: int | None) -> Iterator[_File]:
    """Write the data files, and yield what they are in their order."""
    workers = min(plan.file_count, processes or _cores(plan))
    if workers == 1:
        maker = _Maker(plan)
        yield from (maker.make(number) for number in range(plan.file_count))
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _start, (plan,)) as pool:
        try:
            yield from pool.map(_make, range(plan.file_count))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _cores(plan: Plan) -> int:
    """Return how many processes to use: a small load is done before a second one has started."""
    return len(os.sched_getaffinity(0)) if plan.events >= WORTH_A_PROCESS else 1


_makers: list["_Maker"] = []


def _start(plan: Plan) -> None:
    _makers.append(_Maker(plan))


def _make(number: int) -> _File:
    return _makers[0].make(number)


class _Maker:
    """Write data files of a plan, one at a time."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._traffic = Traffic(plan)
        self._renderer = Renderer(self._traffic, with_token=plan.shape == "event")
        self._faults = Faults(plan.shape, self._traffic.draws)
        self._judge = Judge(self._traffic.events_per_hour() is not None, self._faults)
        self._packer = _packer(plan, self._traffic)

    def make(self, number: int) -> _File:
        """Write one data file, and its part of the truth."""
        path, tally, messages = self._plan.path(number), Tally(), 0
        first, end = self._plan.span(number)
        with open_sink(self._plan, path) as sink, _open_truth(self._plan, number) as truth:
            for start in range(first, end, BLOCK):
                positions = np.arange(start, min(end, start + BLOCK))
                messages += self._block(positions, sink, truth, tally)
        return _File(messages, path.stat().st_size, tally)

    def _block(self, positions: Ints, sink: Sink, truth: BinaryIO | None, tally: Tally) -> int:
        """Write a block's messages, and return how many there are."""
        rows = self._traffic.rows(positions)
        rendered = self._renderer.render(rows)
        invalid = np.flatnonzero(rows.fate == Fate.INVALID)
        flaws = dict(zip(invalid.tolist(), self._faults.flaws(positions[invalid]), strict=True))
        packed = self._packer.pack(rows, rendered, flaws)
        sink.write(packed.bodies, packed.nows)
        outcomes = self._judge.outcomes(rows, flaws)
        tally.add(tally_of(*outcomes, packed.hours))
        if truth is not None:
            truth.write(truth_lines(self._judge.uuids(rendered.uuids, flaws), outcomes, packed.hours))
        return len(packed.bodies)


def _packer(plan: Plan, traffic: Traffic) -> Packer:
    if plan.shape == "captured":
        return Captured(traffic)
    if plan.shape == "event":
        return Events()
    return Batches(plan, traffic)


def _open_truth(plan: Plan, number: int) -> AbstractContextManager[BinaryIO | None]:
    return nullcontext() if plan.truth is None else _truth_part(plan, number).open("wb")


def _truth_part(plan: Plan, number: int) -> Path:
    truth = Path(str(plan.truth))
    return truth.with_name(f".{truth.name}.{number:05d}")


def _summary(plan: Plan, files: list[_File], by_team: dict[int, TeamTruth]) -> Summary:
    return Summary(
        events=plan.events,
        messages=sum(file.messages for file in files),
        bytes=sum(file.bytes for file in files),
        files=[str(plan.path(number)) for number in range(plan.file_count)],
        teams=str(Path(plan.out) / TEAMS_FILE),
        truth=plan.truth,
        stored=sum(team.stored for team in by_team.values()),
        duplicate=sum(team.duplicate for team in by_team.values()),
        limited=sum(sum(team.limited.values()) for team in by_team.values()),
        rejected=sum(sum(team.rejected.values()) for team in by_team.values()),
        by_team=by_team,
    )


def _head(summary: Summary, tally: Tally, events_per_hour: int | None) -> dict[str, Any]:
    """Return the first line of the truth file (docs/generate.md)."""
    counts = {name: getattr(summary, name) for name in ("events", "stored", "duplicate", "limited", "rejected")}
    by_team = {str(team): asdict(truth) for team, truth in summary.by_team.items()}
    quota = None
    if events_per_hour is not None:
        hours = {str(hour * 3600): events for hour, events in sorted(tally.hours.items())}
        quota = {"team_id": QUOTA_TEAM, "events_per_hour": events_per_hour, "hours": hours}
    return {**counts, "by_team": by_team, "quota": quota}
