"""What events carry of the properties of their persons: one copy a person, and of one message no more than a limit."""

from collections import Counter
from collections.abc import Callable, Sequence

from schemas.event import Event
from schemas.limits import MAX_STAMPED_BYTES, TRIMMED_STAMP_BYTES
from schemas.reasons import WarningType
from transforms.persons.known import KnownPersons
from transforms.persons.registers import trimmed

Warn = Callable[[Event, WarningType, dict[str, str]], None]


class Properties(dict[int, bytes]):
    """Properties by row, for the events of one batch: events of one person share one object, whatever its size.

    Args:
        persons: who is known.
    """

    def __init__(self, persons: KnownPersons) -> None:
        super().__init__()
        self._persons = persons

    def __missing__(self, row: int) -> bytes:
        found = self[row] = self._persons.properties(row)
        return found


def bound_stamps(events: Sequence[Event], warn: Warn) -> None:
    """Trim the properties of those events with which their message has more than the limit.

    A few hundred bytes of compressed events would otherwise become gigabytes of rows, if their person has much.

    Args:
        events: with the properties of their persons; in the order in which they have a right to them.
        warn: called with each event that is trimmed.
    """
    if sum([len(event.person_properties) for event in events]) <= MAX_STAMPED_BYTES:
        return
    stamped: Counter[tuple[int, int]] = Counter()
    short: dict[bytes, bytes] = {}
    for event in events:
        full = event.person_properties
        message = event.receipt, event.offset
        stamped[message] += len(full)
        if stamped[message] > MAX_STAMPED_BYTES and len(full) > TRIMMED_STAMP_BYTES:
            if full not in short:
                short[full] = trimmed(full, TRIMMED_STAMP_BYTES)
            event.person_properties = short[full]
            details = {"field": "person_properties", "value": f"{len(full)} bytes", "limit": f"{MAX_STAMPED_BYTES} bytes a message"}
            warn(event, WarningType.PERSON_PROPERTIES_SIZE_VIOLATION, details)
