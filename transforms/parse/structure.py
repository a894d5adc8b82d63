"""Where what should be JSON is nested how deep: in one pass over it, whatever it is (nesting.pyx is the same, compiled)."""

import re
from collections.abc import Iterator

from schemas.errors import Rejected
from schemas.limits import MAX_STRUCTURE
from schemas.reasons import Reason

OPENING, CLOSING, COMMA = frozenset(b"[{"), frozenset(b"]}"), ord(",")

# Up to the next bracket or comma, and over all strings before it, or to the end. Nothing is gone back over: that would take memory for each
# character of a string, and the square of the time where one never ends.
_STRUCTURE = re.compile(rb'(?:[^"\[\]{},]++|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z))*+(?:[\[\]{},]|(\Z))', re.S)


def edges(raw: bytes, level: int, commas: bool, most: int) -> list[int] | None:
    """Return the places of the brackets with which nesting comes to a level and leaves it; None if there are more than `most`.

    Brackets in strings do not count.

    Args:
        raw: text that should be JSON.
        level: from 1 on, which is inside the outermost brackets.
        commas: whether those of the level are also meant.
        most: how many places.

    Raises:
        Rejected: body_too_large if there are more than MAX_STRUCTURE brackets and commas in all; not where this is compiled.
    """
    found: list[int] = []
    depth = 0
    for place, byte in _structure(raw):
        depth += byte in OPENING
        if depth == level and (commas or byte != COMMA):
            if len(found) == most:
                return None
            found.append(place)
        depth -= byte in CLOSING
    return found


def _structure(raw: bytes) -> Iterator[tuple[int, int]]:
    """Yield the place and the byte of each bracket and comma that is in no string."""
    for count, found in enumerate(_STRUCTURE.finditer(raw)):
        if found.lastindex:
            return
        if count == MAX_STRUCTURE:
            raise Rejected(Reason.BODY_TOO_LARGE, f"what is no JSON has more than {MAX_STRUCTURE} brackets and commas")
        place = found.end() - 1
        yield place, raw[place]
