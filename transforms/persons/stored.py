"""Facts of a shard, as its worker reads them back from the tables."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from schemas.identity import BUCKETS
from schemas.persons import Fact, Kind

_SIGHTS = f"kind IN ({Kind.FIRST_SEEN.value}, {Kind.CREATED.value})"
_CREATED = f"kind = {Kind.CREATED.value}"


class Reader(Protocol):
    """What is used of a ClickHouse client; see transforms/io/clickhouse."""

    def columns(self, sql: str) -> dict[str, list[Any]]:
        """Return a query's columns."""


class Stored(NamedTuple):
    """When persons were first seen, as columns: person ids, and minus the order time; and all other facts."""

    seen_ids: list[bytes]
    seen_orders: list[int]
    facts: Iterator[Fact]


class StoredFacts:
    """Read a shard's part of `person_links` and `person_properties`: a range of buckets.

    Args:
        client: where from.
    """

    def __init__(self, client: Reader) -> None:
        self._client = client

    def of_ids(self, shard: int, shards: int) -> Stored:
        """Return what distinct ids of a shard of themselves say."""
        return self._read(f"{_range(shard, shards)} AND own", _SIGHTS)

    def of_persons(self, shard: int, shards: int) -> Stored:
        """Return what is stored under the persons of a shard, whoever it is about."""
        return self._read(_range(shard, shards), _CREATED)  # which repeats the sights of all whom the shard is asked about

    def _read(self, where: str, sights: str) -> Stored:
        seen = self._client.columns(
            f"SELECT UUIDStringToNum(toString(person_id)) AS person, max(register).order AS order FROM person_links"
            f" WHERE {where} AND {sights} GROUP BY person_id"
        )
        return Stored(seen["person"], seen["order"], self._facts(where))

    def _facts(self, where: str) -> Iterator[Fact]:
        for table, more in (("person_links", f" AND NOT {_SIGHTS}"), ("person_properties", "")):
            found = self._client.columns(
                f"SELECT team_id, distinct_id, toInt8(kind) AS kind_number, key, max(register) AS newest, newest.order AS order,"
                f" newest.uuid AS uuid, newest.value AS value, UUIDStringToNum(toString(person_id)) AS person"
                f" FROM {table} WHERE {where}{more} GROUP BY person_id, team_id, distinct_id, kind, key"
            )
            names = ("team_id", "distinct_id", "kind_number", "key", "order", "uuid", "value", "person")
            for team, who, kind, key, order, uuid, value, person in zip(*(found[name] for name in names), strict=True):
                yield Fact(team, who.decode(), kind, key.decode(), order, uuid, value, person)


def _range(shard: int, shards: int) -> str:
    width = BUCKETS // shards
    return f"bucket BETWEEN {shard * width} AND {shard * width + width - 1}"
