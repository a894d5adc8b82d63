"""Warnings of the person steps."""

import msgspec

from schemas.event import Event, IngestionWarning
from schemas.persons import Fact
from schemas.reasons import WarningType


class Warnings:
    """Collect what customers are told of a batch: one of each team, type and key, with a count.

    Args:
        known: warnings that the batch has already.
    """

    def __init__(self, known: list[IngestionWarning]) -> None:
        self._known = known
        self._added: dict[tuple[int, str, str], IngestionWarning] = {}

    def of_event(self, event: Event, kind: WarningType, details: dict[str, str]) -> None:
        """Warn about an event's person."""
        details = {**details, "event": event.event, "distinct_id": event.distinct_id}
        self._add(event.team_id, kind, event.distinct_id, details, event.arrival, event.receipt, event.offset)

    def of_merge(self, fact: Fact) -> None:
        """Warn that a merge does not hold. The time is that of the merge: the source's worker does not know its message."""
        details = {"field": "distinct_id", "value": fact.distinct_id, "target": fact.value.decode()}
        self._add(fact.team_id, WarningType.CANNOT_MERGE_ALREADY_IDENTIFIED, fact.distinct_id, details, max(-fact.order, 0), 0, 0)

    def all(self) -> list[IngestionWarning]:
        """Return the batch's warnings and those that were added."""
        return [*self._known, *self._added.values()] if self._added else self._known

    def _add(self, team_id: int, kind: WarningType, key: str, details: dict[str, str], arrival: int, receipt: int, offset: int) -> None:
        found = self._added.get((team_id, kind.value, key))
        if found is not None:
            found.count += 1
            return
        text = msgspec.json.encode(details).decode()
        self._added[team_id, kind.value, key] = IngestionWarning(team_id, kind.value, key, text, 1, arrival, receipt, offset)
