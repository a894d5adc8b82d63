"""What must become of each event: counted by team, and written a line an event if a truth file is asked for."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pipelines.generate.draws import Ints
from pipelines.generate.faults import Faults, Flaw
from pipelines.generate.teams import QUOTA_TEAM
from pipelines.generate.traffic import Dropped, Fate, Rows
from schemas.reasons import Limit, Reason

_UNKNOWN_TEAM = 0

# What may become of an event: (outcome, reason). With a quota, which of a team's events are limited depends on their order.
STORED, DUPLICATE, BY_TOKEN, BY_DISTINCT_ID, BY_QUOTA = range(5)
_LABELS: tuple[tuple[str | None, str | None], ...] = (
    ("stored", None),
    ("duplicate", None),
    ("limited", Limit.DROP_TOKENS.value),
    ("limited", Limit.DROP_DISTINCT_IDS.value),
    (None, Limit.EVENTS_PER_HOUR.value),
    *(("rejected", reason.value) for reason in Reason),
)
_REJECTED = {reason: number for number, reason in enumerate(Reason, start=5)}


@dataclass
class Tally:
    """Counts that add up over blocks and files.

    Attributes:
        outcomes: events by (team, index in the labels).
        hours: events of the team that has a quota, by hour of arrival as hours since 1970.
    """

    outcomes: Counter[tuple[int, int]] = field(default_factory=Counter)
    hours: Counter[int] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        """Add another's counts."""
        self.outcomes.update(other.outcomes)
        self.hours.update(other.hours)


@dataclass(frozen=True)
class TeamTruth:
    """What becomes of one team's events; team 0 has those of which no team can be told."""

    stored: int
    duplicate: int
    limited: dict[str, int]
    rejected: dict[str, int]


class Judge:
    """Say what must become of events.

    Args:
        has_quota: whether a team has one.
        faults: the faults of the plan's shape.
    """

    def __init__(self, has_quota: bool, faults: Faults) -> None:
        self._has_quota = has_quota
        self._faults = faults

    def outcomes(self, rows: Rows, flaws: Mapping[int, Flaw]) -> tuple[Ints, Ints]:
        """Return each row's team, and the index of what becomes of it in the labels."""
        label = np.where(rows.fate == Fate.DUPLICATE, DUPLICATE, STORED)
        label[rows.dropped == Dropped.TOKEN] = BY_TOKEN
        label[rows.dropped == Dropped.DISTINCT_ID] = BY_DISTINCT_ID
        if self._has_quota:
            label[rows.team == QUOTA_TEAM] = BY_QUOTA
        team = rows.team.copy()
        for place, flaw in flaws.items():
            label[place] = _REJECTED[flaw.fault.reason]
            if not self._faults.keeps_team(flaw):
                team[place] = _UNKNOWN_TEAM
        return team, label

    def uuids(self, uuids: list[bytes], flaws: Mapping[int, Flaw]) -> list[bytes | None]:
        """Return each row's uuid, None where there is none that can be read."""
        found: list[bytes | None] = [uuid or None for uuid in uuids]
        for place, flaw in flaws.items():
            if not self._faults.keeps_uuid(flaw):
                found[place] = None
        return found


def tally_of(team: Ints, label: Ints, hours: Ints) -> Tally:
    """Return the counts of some events."""
    tally = Tally()
    found, counts = np.unique(team * len(_LABELS) + label, return_counts=True)
    for key, count in zip(found.tolist(), counts.tolist(), strict=True):
        tally.outcomes[divmod(key, len(_LABELS))] = count
    found, counts = np.unique(hours[label == BY_QUOTA], return_counts=True)
    tally.hours.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
    return tally


def truth_lines(uuids: list[bytes | None], outcomes: tuple[Ints, Ints], hours: Ints) -> bytes:
    """Return a line for each row: team_id, uuid, outcome and reason; for those that a quota decides on, the hour too."""
    quoted = [b'"%b"' % uuid if uuid else b"null" for uuid in uuids]
    teams, labels = outcomes
    tails = [_TAILS[label] for label in labels.tolist()]
    for place in np.flatnonzero(labels == BY_QUOTA).tolist():
        tails[place] += b',"hour":%d' % (hours[place] * 3600)
    lines = zip(teams.tolist(), quoted, tails, strict=True)
    return b"".join([b'{"team_id":%d,"uuid":%b,%b}\n' % line for line in lines])


_TAILS = [json.dumps({"outcome": outcome, "reason": reason}, separators=(",", ":"))[1:-1].encode() for outcome, reason in _LABELS]


def truth_by_team(tally: Tally, events_per_hour: int | None) -> dict[int, TeamTruth]:
    """Return what becomes of the events of each team that has any, by team id."""
    found: dict[int, TeamTruth] = {}
    for (team, label), count in sorted(tally.outcomes.items()):
        truth = found.setdefault(team, TeamTruth(0, 0, {}, {}))
        found[team] = _with(truth, label, count, tally, events_per_hour or 0)
    return found


def _with(truth: TeamTruth, label: int, count: int, tally: Tally, events_per_hour: int) -> TeamTruth:
    outcome, reason = _LABELS[label]
    limited, rejected = dict(truth.limited), dict(truth.rejected)
    stored = duplicate = 0
    if label == BY_QUOTA:
        over = sum(max(0, events - events_per_hour) for events in tally.hours.values())
        stored = count - over
        limited.update({str(reason): over} if over else {})
    elif outcome == "limited":
        limited[str(reason)] = count
    elif outcome == "rejected":
        rejected[str(reason)] = count
    else:
        stored, duplicate = (count, 0) if label == STORED else (0, count)
    return TeamTruth(truth.stored + stored, truth.duplicate + duplicate, limited, rejected)


def write_truth(path: Path, head: dict[str, Any], parts: Iterable[Path]) -> None:
    """Write the truth file: the head, then the lines of the parts, which are removed."""
    whole = path.with_name(f".{path.name}.whole")
    with whole.open("wb") as file:
        file.write(json.dumps(head).encode() + b"\n")
        for part in parts:
            _append(file, part)
    os.replace(whole, path)


def _append(file: BinaryIO, part: Path) -> None:
    with part.open("rb") as lines:
        shutil.copyfileobj(lines, file, 1 << 20)
    part.unlink()
