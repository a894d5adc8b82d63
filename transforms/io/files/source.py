"""A stored file in, its bytes as stored out, through any of Beam's filesystems."""

import os
from types import TracebackType
from typing import Any, Protocol

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from schemas.errors import Unavailable
from transforms.io.files.pieces import Undecodable


class Readable(Protocol):
    """Bytes to be read in their order."""

    def read(self, size: int, /) -> bytes:
        """Return the next `size` bytes; fewer only at the end."""


def read_exactly(source: Readable, size: int) -> bytes:
    """Return the next `size` bytes.

    Raises:
        Undecodable: there are fewer.
    """
    data = source.read(size)
    if len(data) < size:
        raise Undecodable()
    return data


class Source:
    """Read a file as it is stored, whatever its name says about compression.

    What a filesystem raises becomes `Unavailable`, so that no reader of a format takes an outage for a broken file.

    Args:
        path: the file, with its filesystem's scheme.
        size: in bytes, when the job was planned. A file that has become shorter is an error: messages would be missing.
    """

    def __init__(self, path: str, size: int = 0) -> None:
        self._path = path
        self._size = size
        try:
            self._file: Any = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
        except Exception as error:
            raise Unavailable(f"{path} cannot be opened: {error}") from error

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return bool(self._file.closed)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes; fewer only at the end of the file.

        Raises:
            Unavailable: the filesystem fails, or the file is shorter than it was.
        """
        data = self._some(size)
        while 0 < len(data) < size and (more := self._some(size - len(data))):
            data += more
        return data

    def _some(self, size: int) -> bytes:
        """Return bytes, as many as the filesystem gives at once."""
        try:
            data: bytes = self._file.read(size)
        except Exception as error:
            raise Unavailable(f"{self._path} cannot be read: {error}") from error
        if not data and size and self.tell() < self._size:
            raise Unavailable(f"{self._path} has {self.tell()} bytes, but had {self._size} when the job was planned")
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position, and return it."""
        self._file.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        """Return the position."""
        return int(self._file.tell())
