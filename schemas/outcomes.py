"""The ledger's entries: what was received, and what became of it (docs/guarantees.md, G1)."""

from enum import IntEnum

import msgspec


class Outcome(IntEnum):
    """What became of an event. `RECEIVED` is the other side of the ledger: what the others must add up to."""

    RECEIVED = 0
    STORED = 1
    DUPLICATE = 2
    LIMITED = 3
    REJECTED = 4


class Tally(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """`count` events of one team that arrived in one hour and had one outcome.

    Attributes:
        team_id: 0 if no team could be told.
        hour: of arrival, seconds since 1970, a multiple of 3600.
    """

    team_id: int
    hour: int
    outcome: int
    reason: str
    count: int


class Report(msgspec.Struct, array_like=True):
    """News of one receipt: what was read, parsed, or durably dealt with. The sum of its reports completes a receipt.

    Attributes:
        receipt: its 64-bit id.
        tallies: counts to add.
        parsed: messages taken apart; their events are in `tallies` as RECEIVED.
        read: set once by the source, at the end: how many messages the receipt holds in all.
        source: set with `read`: what was read (a file's path).
        start, end: set with `read`: the positions that it covers, `[start, end)`.
    """

    receipt: int
    tallies: list[Tally] = []
    parsed: int = 0
    read: int | None = None
    source: str = ""
    start: int = 0
    end: int = 0
