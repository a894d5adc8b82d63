"""Warnings in, those of them that are stored out: of each team, type and key the first of an hour."""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

from schemas.event import IngestionWarning

HOUR = 3_600_000_000  # microseconds
REMEMBERED = 100_000  # what was warned about longest ago is forgotten, and warned about again

_Subject = tuple[int, str, str, int]  # team, type, key, hour of arrival
_Given = tuple[int, int, int]  # arrival, receipt and offset of a warning


class Debounce:
    """Let the first warning of a subject through, as far as this process knows. Safe to use from many threads.

    A bundle that is run again gets the same answer: its warnings may not have been stored.
    """

    def __init__(self) -> None:
        self._first: OrderedDict[_Subject, _Given] = OrderedDict()
        self._lock = Lock()

    def firsts(self, warnings: Sequence[IngestionWarning]) -> list[IngestionWarning]:
        """Return the warnings that are to be stored."""
        with self._lock:
            return [warning for warning in warnings if self._is_first(warning)]

    def _is_first(self, warning: IngestionWarning) -> bool:
        subject = (warning.team_id, warning.type, warning.key, warning.arrival // HOUR)
        given = (warning.arrival, warning.receipt, warning.offset)
        first = self._first.setdefault(subject, given)
        if len(self._first) > REMEMBERED:
            self._first.popitem(last=False)
        return first == given
