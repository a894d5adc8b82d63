"""What a check has found."""

from enum import Enum

import msgspec


class Level(Enum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


class Finding(msgspec.Struct, frozen=True):
    """The result of one check.

    Attributes:
        name: of the check, as in docs/doctor.md.
        what: what was found, with figures.
        todo: what to do about it; nothing if it is ok.
    """

    name: str
    level: Level
    what: str
    todo: str = ""


def graded(name: str, value: float, warning: float, failure: float, what: str, todo: str) -> Finding:
    """Return a finding whose level follows from a value: the higher, the worse.

    Args:
        value: what was measured.
        warning, failure: the least values of these levels.
        what, todo: as in Finding; `todo` is left out if it is ok.
    """
    level = Level.FAILURE if value >= failure else Level.WARNING if value >= warning else Level.OK
    return Finding(name, level, what, "" if level == Level.OK else todo)


def span(seconds: float) -> str:
    """Return a length of time for people."""
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
