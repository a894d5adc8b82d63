"""The ledger of files: files in, the stretches of each out, by what the table `files` knows; new ones are entered before they are read."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import pyarrow as pa

from schemas.tables import FILES
from transforms.io.clickhouse import shared
from transforms.io.clickhouse.statements import literal
from transforms.io.files.identity import HEAD_BYTES, Beginning, Known, KnownFiles, StoredFile, Stretch, contents, resolve

AT_ONCE = 250  # files; a statement has at most 256 KiB
OPENED = 16  # files at once: it is waiting for a filesystem that takes time
STATEMENT = 100_000  # characters of literals

One = TypeVar("One")


class Client(Protocol):
    """What is used of a ClickHouse client; see transforms/io/clickhouse."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows."""

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        """Insert all rows or none."""


@dataclass(frozen=True)
class FileLedger:
    """Tell files that were read before from new ones. It is pickled.

    Args:
        sink: the ClickHouse URL.
    """

    sink: str

    def stretches(self, files: Sequence[tuple[StoredFile, Beginning]], now: int) -> dict[str, list[Stretch]]:
        """Return the stretches of each file by its path. A new one is in the ledger before this returns.

        Args:
            files: with how they begin. Smaller ones come first into the ledger: one of them may be the beginning of a larger one.
            now: of new files, the latest arrival, microseconds since 1970.

        Raises:
            Unavailable: a file cannot be read.
        """
        table = _Table(shared(self.sink))
        found: dict[str, list[Stretch]] = {}
        with ThreadPoolExecutor(OPENED) as pool:
            for some in groups(sorted(files, key=lambda each: each[0].size), AT_ONCE):
                found |= _settle(some, table, pool, now)
        return found


def _settle(files: Sequence[tuple[StoredFile, Beginning]], table: "_Table", pool: ThreadPoolExecutor, now: int) -> dict[str, list[Stretch]]:
    """Return the stretches of a group of files as the table has them, once the new ones are entered: another run may have been earlier."""
    known = table.matching(files)
    for file, beginning in files:
        known.add_size(beginning.head, file.size)
    ends = [known.ends(file, beginning) for file, beginning in files]
    hashes = list(pool.map(contents, [file for file, _ in files], ends))
    while True:
        found: dict[str, list[Stretch]] = {}
        new: list[Known] = []
        for (file, beginning), own in zip(files, hashes, strict=True):
            found[file.path], entry = resolve(file, beginning, own, known, now)
            if entry is not None:
                known.add(entry)
                new.append(entry)
        if not new:
            return found
        table.enter(new)
        known = table.matching(files)
        for entry in new:
            known.add(entry)  # unless an earlier one is there; a replica may not show it yet


_SELECT = """
SELECT head, size, content, name, toUnixTimestamp64Micro(arrival), toUnixTimestamp64Micro(inserted_at)
FROM files WHERE {} ORDER BY inserted_at, arrival, name
"""


class _Table:
    def __init__(self, client: Client) -> None:
        self._client = client

    def matching(self, files: Sequence[tuple[StoredFile, Beginning]]) -> KnownFiles:
        """Return what the table has that begins as one of some files, is very small, or has the path of one as its name."""
        heads = {str(beginning.head) for _, beginning in files} - {"0"}
        largest = max(file.size for file, _ in files)
        conditions = [f"head = 0 AND size < {HEAD_BYTES} AND size <= {largest}"]
        conditions += [f"head IN ({some})" for some in _lists(heads)]
        conditions += [f"name IN ({some})" for some in _lists({literal(file.path) for file, _ in files})]
        found = (row for condition in conditions for row in self._client.rows(_SELECT.format(condition)))
        return KnownFiles(Known(*row) for row in found)

    def enter(self, new: Sequence[Known]) -> None:
        """Enter files."""
        columns = zip(*(each[: len(FILES)] for each in new), strict=True)
        arrays = [pa.array(column, kind.type) for column, kind in zip(columns, FILES, strict=True)]
        self._client.insert("files", pa.Table.from_arrays(arrays, schema=FILES), token=uuid4().hex)


def _lists(literals: Iterable[str]) -> Iterator[str]:
    """Yield lists of literals that a statement can hold."""
    some: list[str] = []
    size = 0
    for each in sorted(literals):
        if some and size + len(each) > STATEMENT:
            yield ", ".join(some)
            some, size = [], 0
        some.append(each)
        size += len(each) + 2
    if some:
        yield ", ".join(some)


def groups(items: Iterable[One], size: int) -> Iterator[list[One]]:
    """Yield the items in lists of at most `size`."""
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group
