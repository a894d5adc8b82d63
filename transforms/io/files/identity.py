"""Files in; what each is known by, and from when its messages are, out: the same file is the same file, whenever it comes."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from apache_beam.io.filesystems import FileSystems
from xxhash import xxh3_64_intdigest, xxh3_128

from schemas.errors import Unavailable
from schemas.limits import EARLIEST_ARRIVAL
from transforms.io.files.source import Source

HEAD_BYTES = 256
BLOCK_BYTES = 1 << 20
# Stores that know a checksum of an object's content, by the scheme of their paths. What Beam's other filesystems say is of something else.
WITH_CHECKSUMS = ("gs", "s3")
# Files that can grow at their end: what was read of them is still there.
CAN_GROW = ("lines", "gzip", "zstd")


class StoredFile(NamedTuple):
    """A file that a pattern names.

    Attributes:
        path: with its filesystem's scheme; absolute if it is local.
        size: in bytes.
        modified: microseconds since 1970; 0 if the filesystem does not say.
    """

    path: str
    size: int
    modified: int = 0


class Beginning(NamedTuple):
    """How a file begins: its format, and a hash of its first bytes, 0 if it has less."""

    format: str
    head: int


class Known(NamedTuple):
    """A file of the ledger.

    Attributes:
        head: of its `Beginning`.
        size: in bytes.
        content: its hash, or the store's checksum.
        name: what its messages are said to come from.
        arrival: of those that have none, microseconds since 1970.
        entered: when it was, microseconds since 1970.
    """

    head: int
    size: int
    content: str
    name: str
    arrival: int
    entered: int = 2**63


class Stretch(NamedTuple):
    """A part of a file, up to `end`: what its messages are said to come from, and the arrival of those without one."""

    end: int
    name: str
    arrival: int


def head_of(data: bytes) -> int:
    """Return the hash of a file's first bytes."""
    return xxh3_64_intdigest(data[:HEAD_BYTES]) if len(data) >= HEAD_BYTES else 0


def contents(file: StoredFile, ends: Collection[int]) -> dict[int, str]:
    """Return what a file's content is known by, by its size; the same of its beginnings up to some ends, by these.

    Where a store has a checksum of its own the file is not read. That is of the whole, and its beginnings are not known.

    Raises:
        Unavailable: it cannot be read, or has become shorter.
    """
    scheme = FileSystems.get_scheme(file.path)
    if scheme in WITH_CHECKSUMS:
        try:
            return {file.size: f"{scheme}:{FileSystems.checksum(file.path)}"}
        except Exception as error:  # each filesystem has errors of its own
            raise Unavailable(f"{file.path} has no checksum: {error}") from error
    return _hashes(file, sorted({*ends, file.size}))


def _hashes(file: StoredFile, ends: Sequence[int]) -> dict[int, str]:
    found, place, running = {}, 0, xxh3_128()
    with Source(file.path, file.size) as source:
        for end in ends:
            while place < end:
                data = source.read(min(BLOCK_BYTES, end - place))
                running.update(data)
                place += len(data)
            found[end] = f"xxh3:{running.hexdigest()}"
    return found


def arrival_of(file: StoredFile, now: int) -> int:
    """Return when a new file's messages arrived: when it was written, if that can be, else now; microseconds since 1970.

    A file that is older than messages of this form has a date that somebody's tool has made up.
    """
    return min(file.modified, now) if file.modified >= EARLIEST_ARRIVAL else now


class KnownFiles:
    """Some files of the ledger. Of two with the same size and content the first one counts."""

    def __init__(self, files: Iterable[Known] = ()) -> None:
        self._by_content: dict[tuple[int, str], Known] = {}
        self._by_name: dict[str, list[Known]] = {}
        self._sizes: dict[int, set[int]] = {}
        for file in files:
            self.add(file)

    def add(self, file: Known) -> None:
        """Add a file."""
        if self._by_content.setdefault((file.size, file.content), file) is file:
            self._by_name.setdefault(file.name, []).append(file)
            self.add_size(file.head, file.size)

    def add_size(self, head: int, size: int) -> None:
        """Add a file that is to be looked for, but not known yet."""
        self._sizes.setdefault(head, set()).add(size)

    def find(self, size: int, content: str) -> Known | None:
        """Return a file by its content."""
        return self._by_content.get((size, content))

    def named(self, name: str) -> Sequence[Known]:
        """Return the files that have a name."""
        return self._by_name.get(name, ())

    def ends(self, file: StoredFile, beginning: Beginning) -> list[int]:
        """Return the sizes of the files that may be the beginning of this one."""
        if beginning.format not in CAN_GROW:
            return []
        return [size for head in {0, beginning.head} for size in self._sizes.get(head, ()) if 0 < size < file.size]


def resolve(
    file: StoredFile, beginning: Beginning, hashes: dict[int, str], known: KnownFiles, now: int
) -> tuple[list[Stretch], Known | None]:
    """Return the stretches of a file, and what is to be entered in the ledger if it is new.

    Args:
        file: the file.
        beginning: how it begins.
        hashes: by `contents`.
        known: of the ledger, at least the files that begin alike, are very small, or have this one's path as their name.
        now: microseconds since 1970.
    """
    content = hashes[file.size]
    whole, new = known.find(file.size, content), None
    parts = [found for size, part in sorted(hashes.items()) if size < file.size and (found := known.find(size, part)) is not None]
    if whole is not None:  # as it was then
        parts = [part for part in parts if part.entered <= whole.entered]
    if whole is None:
        before = known.find(file.size, f"path:{file.path}")  # read by a release that had no ledger
        name, arrival = (before.name, before.arrival) if before is not None else (file.path, arrival_of(file, now))
        if before is None and any(one not in parts for one in known.named(file.path)):
            name += f"#{content.partition(':')[2][:16]}"  # what is made from a name and a place must not be another file's
        whole = new = Known(beginning.head, file.size, content, name, arrival)
    return [Stretch(one.size, one.name, one.arrival) for one in (*parts, whole)], new
