"""Patterns in, the files that they name and the ranges in which these are read out."""

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Protocol
from uuid import UUID

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from schemas.errors import ConfigError, Unavailable
from schemas.message import FileRange
from transforms.io.files.compressed import GZIP_MAGIC, ZSTD_MAGIC, ZSTD_SKIPPABLE
from transforms.io.files.identity import HEAD_BYTES, Beginning, StoredFile, Stretch, arrival_of, head_of
from transforms.io.files.source import Source
from transforms.runs import receipt_of

RANGE_BYTES = 32 << 20
# The files that a folder stands for. Others, and those whose names begin with a dot or an underscore, must be named.
FOLDER_PATTERNS = ("*.json*", "*.ndjson*", "*.avro", "*.parquet")

_HIDDEN = (".", "_")
_MAGIC_BYTES = 4
_AVRO_MAGIC = b"Obj\x01"
_PARQUET_MAGIC = b"PAR1"
_WHOLE = ("gzip", "zstd")  # cannot be read from the middle
_OPENED = 16  # files at once, while they are planned: it is waiting for a filesystem that takes time


def match(patterns: Sequence[str], allow_empty: bool = False) -> list[StoredFile]:
    """Return the files that the patterns name, by path, each once.

    A pattern is a file, a folder, or a glob as of Beam: `*` does not match a slash, `**` does. A local file of exactly that name
    comes first. A folder stands for the files in it that look like data (`FOLDER_PATTERNS`), not for those in its folders.

    Raises:
        ConfigError: a pattern names no file and `allow_empty` is not set; or something that cannot be read as a file.
        Unavailable: a filesystem does not answer.
    """
    files: dict[str, StoredFile] = {}  # by path: Beam tells the time of a file less exactly than the system does
    for pattern in patterns:
        found = _matching(pattern)
        if not found and not allow_empty:
            hint = f"check the path (a folder stands for {', '.join(FOLDER_PATTERNS)}), or allow it with --allow-empty"
            raise ConfigError(f"{pattern} matches no file", hint)
        files.update((file.path, file) for file in found)
    return sorted(files.values())


def _matching(pattern: str) -> list[StoredFile]:
    if FileSystems.get_scheme(pattern) is not None:
        return _in_folder(pattern) if pattern.endswith("/") else _listed(pattern) or _in_folder(pattern)
    files = _local(os.path.abspath(pattern))
    for file in files:
        _check_local(file.path)
    return files


def _local(path: str) -> list[StoredFile]:
    if os.path.isdir(path):
        return _in_folder(path)
    if not os.path.isfile(path):
        return _listed(path)
    found = os.stat(path)
    return [StoredFile(path, found.st_size, found.st_mtime_ns // 1000)]


def _in_folder(folder: str) -> list[StoredFile]:
    prefix = folder.rstrip("/") + "/"
    # Beam has no way to quote the characters of a glob. A question mark matches them too, and others.
    pattern = re.sub(r"[*?\[]", "?", prefix) + "*"
    return [file for file in _listed(pattern) if file.path.startswith(prefix) and _looks_like_data(file.path)]


def _looks_like_data(path: str) -> bool:
    name = path.rpartition("/")[2]
    return not name.startswith(_HIDDEN) and any(fnmatchcase(name, pattern) for pattern in FOLDER_PATTERNS)


def _listed(pattern: str) -> list[StoredFile]:
    try:
        found = FileSystems.match([pattern])[0].metadata_list
    except ValueError as error:
        raise ConfigError(f"{pattern} is on no known filesystem", "gs:// needs apache-beam[gcp], s3:// needs apache-beam[aws]") from error
    except BeamIOError as error:
        raise Unavailable(f"{pattern} cannot be listed: {error}") from error
    return [
        StoredFile(file.path, file.size_in_bytes, int(file.last_updated_in_seconds * 1e6)) for file in found if not file.path.endswith("/")
    ]


def _check_local(path: str) -> None:
    """Refuse what would be read as an empty file, or could not be written down."""
    if not os.path.isfile(path):
        raise ConfigError(f"{path} is not a regular file", "write what it gives to a file first")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"the file name {path!r} is not UTF-8", "rename it") from None


def beginning_of(path: str) -> Beginning:
    """Return how a file begins. It is read as `gzip`, `zstd`, `avro` or `parquet` by its first bytes, whatever its name; else as `lines`.

    Raises:
        Unavailable: it cannot be opened.
    """
    with Source(path) as source:
        data = source.read(HEAD_BYTES)
    return Beginning(_format(data[:_MAGIC_BYTES]), head_of(data))


def _format(magic: bytes) -> str:
    if magic.startswith(GZIP_MAGIC):
        return "gzip"
    if magic == ZSTD_MAGIC or magic in ZSTD_SKIPPABLE:
        return "zstd"
    return {_AVRO_MAGIC: "avro", _PARQUET_MAGIC: "parquet"}.get(magic, "lines")


def beginnings(files: Sequence[StoredFile]) -> list[Beginning]:
    """Return how files begin. Each is opened, many at once.

    Raises:
        Unavailable: one cannot be opened.
    """
    with ThreadPoolExecutor(_OPENED) as pool:
        return list(pool.map(beginning_of, [file.path for file in files]))


def split(file: StoredFile, kind: str, stretches: Sequence[Stretch], run: UUID, range_bytes: int = RANGE_BYTES) -> Iterator[FileRange]:
    """Yield the ranges in which a file is read: they cover it, and its empty self. Those of a stretch are of equal size.

    Args:
        file: the file.
        kind: its format.
        stretches: of the file. One that cannot be read from its middle is as its first stretch is: what is older must not come twice.
        run: a range has the same receipt in all attempts of one run, and another in the next.
        range_bytes: the largest range, unless the file cannot be read from its middle.
    """
    if kind in _WHOLE:
        stretches, range_bytes = [stretches[0]._replace(end=file.size)], max(file.size, 1)
    first = 0
    for stretch in stretches:
        size = stretch.end - first
        parts = max(1, -(-size // range_bytes))
        bounds = [first + size * part // parts for part in range(parts + 1)]
        for start, end in pairwise(bounds):
            receipt = receipt_of(run, file.path, start, end)
            yield FileRange(receipt, file.path, kind, start, end, file.size, stretch.arrival, stretch.name)
        first = stretch.end


class KnowsFiles(Protocol):
    """The part of a ledger of files that is needed to plan. It is pickled."""

    def stretches(self, files: Sequence[tuple[StoredFile, Beginning]], now: int) -> dict[str, list[Stretch]]:
        """Return the stretches of each file by its path. A new one is in the ledger before this returns."""


def plan_ranges(
    files: Sequence[StoredFile], run: UUID, now: int, range_bytes: int = RANGE_BYTES, known: KnowsFiles | None = None
) -> Iterator[FileRange]:
    """Yield the ranges of all files, in the order of the files.

    Args:
        files: by `match`.
        run, range_bytes: as of `split`.
        now: when the run started, microseconds since 1970: messages of new files arrived when these were written, and not later than this.
        known: which files were read before; without it all are new.

    Raises:
        Unavailable: one cannot be read.
    """
    begun = list(zip(files, beginnings(files), strict=True))
    found = known.stretches([each for each in begun if each[0].size], now) if known is not None else {}
    for file, beginning in begun:
        stretches = found.get(file.path) or [Stretch(file.size, file.path, arrival_of(file, now))]
        yield from split(file, beginning.format, stretches, run, range_bytes)
