"""`fake://`: objects in memory. No folders, as on S3 and GCS; errors of its own; and reads that give less than was asked for."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any, ClassVar

from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem


class Outage(Exception):
    """What the store raises; no OSError."""


class _Object(BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        if FakeFiles.fails_after == 0:
            raise Outage("no answer")
        FakeFiles.fails_after -= 1
        return super().read(min(size or 0, FakeFiles.most_at_once))


class FakeFiles(FileSystem):
    """Objects by their names, of which each read gives a few bytes."""

    objects: ClassVar[dict[str, bytes]] = {}
    most_at_once: ClassVar[int] = 100
    fails_after: ClassVar[int] = -1
    listing_fails: ClassVar[bool] = False

    @classmethod
    def scheme(cls) -> str:
        return "fake"

    @classmethod
    def reset(cls, objects: dict[str, bytes]) -> None:
        cls.objects, cls.most_at_once, cls.fails_after, cls.listing_fails = objects, 100, -1, False

    def has_dirs(self) -> bool:
        return False

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        if self.listing_fails:
            raise BeamIOError("no answer")
        return (self.metadata(path) for path in self.objects if path.startswith(dir_or_prefix))

    def exists(self, path: str) -> bool:
        if self.listing_fails:
            raise Outage("no answer")
        return path in self.objects

    def metadata(self, path: str) -> FileMetadata:
        return FileMetadata(path, len(self.objects[path]))

    def open(self, path: str, mime_type: Any = None, compression_type: Any = None) -> Any:
        if path not in self.objects:
            raise Outage(f"no object {path}")
        return _Object(self.objects[path])

    def _not_needed(self, *arguments: Any, **options: Any) -> Any:
        raise NotImplementedError

    join = split = mkdirs = create = copy = rename = size = last_updated = checksum = delete = _not_needed
