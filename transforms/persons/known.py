"""What a worker knows of persons: their first sight, and their properties. Some 70 bytes a person, and those of the properties."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.persons import PROPERTIES, Fact, Kind, person_id
from transforms.persons.registers import Record, Shown, json_of
from transforms.state.key_table import KeyTable, Rows, grown

NEVER = 2**63 - 1
SOURCE_BYTES = 8  # of a person id: tells one distinct id of a person from another

Times = NDArray[np.int64]


def target_of(merge: Fact) -> bytes:
    """Return the person id of what a merge's source is merged into."""
    return person_id(merge.team_id, merge.key if merge.kind == Kind.FORCED else merge.value.decode())


def _earlier(merge: Fact) -> tuple[int, bytes, str, bytes]:
    """Return what merges of one source are compared by: the greatest is the earliest."""
    return merge.order, merge.uuid, merge.key, merge.value


class KnownPersons:
    """Persons by id; each has a row.

    Properties are packed bytes. Those that facts are added to stay unpacked until `settle`: to unpack and pack a person for each event of
    a batch would take quadratic time.
    """

    def __init__(self) -> None:
        self._table = KeyTable()
        self.seen: Times = np.full(self._table.capacity, NEVER)  # order time of the first event, by row
        self._records: list[bytes | None] = []
        self._unpacked: dict[int, Record] = {}  # by row; until `settle`
        self._claims: Times = np.zeros(self._table.capacity, np.int64)  # what was said last by the hour, as a hash, and since when
        self._claimed: Times = np.zeros(self._table.capacity, np.int64)

    def __len__(self) -> int:
        return self._table.count

    def rows(self, keys: bytes) -> Rows:
        """Return the row of each person id; new ones get one."""
        rows = self._table.add(keys)
        if self._table.count > len(self._records):
            self._records.extend([None] * (self._table.count - len(self._records)))
            self._grow(self._table.count)
        return rows

    def find(self, keys: bytes) -> Rows:
        """Return the row of each person id, -1 if there is none."""
        return self._table.find(keys)

    def ids(self) -> bytes:
        """Return the ids of all persons by row."""
        return self._table.keys_at(np.arange(len(self)))

    def see(self, rows: Rows, times: Times) -> NDArray[np.bool_]:
        """Remember when persons were seen; return which of these sights are the first."""
        before = self.seen[rows]
        np.minimum.at(self.seen, rows, times)
        first: NDArray[np.bool_] = (times < before) & (times == self.seen[rows])
        return first

    def add(self, row: int, facts: Iterable[Fact], source: bytes) -> list[Fact]:
        """Merge properties; return what may be news to the tables. Nothing is shown of it before `settle`.

        Args:
            row: the person's.
            facts: SET and ONCE.
            source: person id of the distinct id that they are about.
        """
        record = self._unpacked.get(row)
        if record is None:
            record = self._unpacked[row] = Record(self._records[row] or b"")
        return [fact for fact in facts if record.add(fact, source[:SOURCE_BYTES])]

    def settle(self) -> dict[int, Shown]:
        """Pack what was added since the last call; return, by row, the properties that are too large."""
        too_large = {}
        for row, record in self._unpacked.items():
            if record.is_changed:
                found = record.shown()
                self._records[row] = record.packed(found)
                if found.is_trimmed:
                    too_large[row] = found
        self._unpacked.clear()
        return too_large

    def has_heard(self, row: int, order: int, claim: int) -> bool:
        """Return whether a person's properties have all that an event says by the hour; remember that they will.

        Args:
            row: the person's.
            order: the event's order time.
            claim: a hash of who says it, the hour and what.
        """
        if self._claims[row] == claim and self._claimed[row] <= order:
            return True
        self._claims[row], self._claimed[row] = claim, order
        return False

    def properties(self, row: int) -> bytes:
        """Return a person's properties as a JSON object, as of the last `settle`."""
        packed = self._records[row]
        return b"{}" if packed is None else json_of(packed)

    def record(self, row: int) -> Record:
        """Return the registers of a person's properties."""
        return self._unpacked.get(row) or Record(self._records[row] or b"")

    def forget(self, row: int) -> None:
        """Drop a person's properties."""
        self._records[row] = None
        self._unpacked.pop(row, None)

    def load(self, persons: Sequence[bytes], orders: Sequence[int]) -> None:
        """Take in when persons were first seen, as columns: ids, and minus the order time."""
        if persons:
            rows = self.rows(b"".join(persons))  # which may make the column grow
            np.minimum.at(self.seen, rows, -np.array(orders, np.int64))

    def learn(self, facts: Iterable[Fact]) -> None:
        """Take in facts that are stored, or were once learned."""
        properties: dict[bytes, dict[tuple[int, str], list[Fact]]] = {}
        others: list[Fact] = []
        for fact in facts:
            if fact.kind in PROPERTIES:
                properties.setdefault(fact.person, {}).setdefault((fact.team_id, fact.distinct_id), []).append(fact)
            else:
                others.append(fact)
        for row, fact in zip(self.rows(b"".join([fact.person for fact in others])).tolist(), others, strict=True):
            self._learn(row, fact)
        for row, sources in zip(self.rows(b"".join(properties)).tolist(), properties.values(), strict=True):
            if self._keeps_properties(row):
                for (team_id, distinct_id), told in sources.items():
                    self.add(row, told, person_id(team_id, distinct_id))
                self.settle()  # one person at a time: unpacked they take several times as much memory

    def _learn(self, row: int, fact: Fact) -> None:
        if fact.kind in (Kind.FIRST_SEEN, Kind.CREATED):
            self.seen[row] = min(int(self.seen[row]), -fact.order)

    def _keeps_properties(self, row: int) -> bool:  # noqa: ARG002
        return True

    def _grow(self, count: int) -> None:
        self.seen = grown(self.seen, count, NEVER)
        self._claims = grown(self._claims, count, 0)
        self._claimed = grown(self._claimed, count, 0)


class KnownIds(KnownPersons):
    """Distinct ids by the id of their own person, with what they are merged into. Of ids that stand for themselves, the properties too."""

    def __init__(self) -> None:
        super().__init__()
        self.identified: Times = np.full(self._table.capacity, NEVER)  # order time, by row
        self.is_pending: NDArray[np.bool_] = np.zeros(self._table.capacity, np.bool_)  # whether the person shard has the properties
        self.targets: dict[int, bytes] = {}  # person id of what a row is merged into
        self._links: dict[int, Fact] = {}
        self._forced: dict[int, Fact] = {}  # the earliest of each row: all hold, and no other can become the one that counts

    def identify(self, row: int, time: int) -> bool:
        """Remember that an id was identified; return whether that is news."""
        if time >= self.identified[row]:
            return False
        self.identified[row] = time
        self._refresh(row)
        return True

    def merge(self, row: int, fact: Fact) -> bool:
        """Remember a merge of an id into another; return whether it holds, as far as is known."""
        if fact.kind == Kind.FORCED:
            known = self._forced.get(row)
            if known is None or _earlier(fact) > _earlier(known):
                self._forced[row] = fact
                self._refresh(row)
            return True
        known = self._links.get(row)
        if known is None or _earlier(fact) > _earlier(known):
            self._links[row] = fact
            self._refresh(row)
        return self._links[row].value == fact.value and self._holds(row)

    def _holds(self, row: int) -> bool:
        return bool(self.identified[row] >= -self._links[row].order)

    def _refresh(self, row: int) -> None:
        merges = [self._forced[row]] if row in self._forced else []
        if row in self._links and self._holds(row):
            merges.append(self._links[row])
        if merges:
            self.targets[row] = target_of(max(merges, key=_earlier))
        else:
            self.targets.pop(row, None)
        self.is_pending[row] = bool(merges) or self.identified[row] != NEVER

    def _learn(self, row: int, fact: Fact) -> None:
        super()._learn(row, fact)
        if fact.kind == Kind.IDENTIFIED:
            self.identify(row, -fact.order)
        elif fact.kind in (Kind.LINK, Kind.FORCED):
            self.merge(row, fact)

    def _keeps_properties(self, row: int) -> bool:
        return not self.is_pending[row]

    def _grow(self, count: int) -> None:
        super()._grow(count)
        self.identified = grown(self.identified, count, NEVER)
        self.is_pending = grown(self.is_pending, count, 0)
