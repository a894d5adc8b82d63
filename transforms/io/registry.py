"""Where the team registry comes from: a TOML file on any of Beam's filesystems, read again when it changes, or `open`."""

import logging
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from schemas.errors import ConfigError
from schemas.teams import OPEN, OPEN_REGISTRY, Registry, parse_registry
from transforms.process import once_a_process

logger = logging.getLogger(__name__)

MAX_BYTES = 256 << 20


class RegistrySource(Protocol):
    """Something that knows the teams of now; picklable, and cheap to ask for each batch."""

    def current(self) -> Registry:
        """Return the registry."""


@dataclass(frozen=True)
class OpenRegistry:
    """Every well-formed token has a team of its own."""

    def current(self) -> Registry:
        """Return the open registry."""
        return OPEN_REGISTRY


@dataclass(frozen=True)
class FileRegistry:
    """A registry file. After a change for the worse the last good content stays in force, and the log says so.

    Args:
        path: of the TOML file.
        refresh: seconds between two looks at whether it changed.
    """

    path: str
    refresh: float = 5.0

    def current(self) -> Registry:
        """Return the registry, at most `refresh` seconds old.

        Raises:
            ConfigError: it could never be read.
        """
        return _cached(self).current()


def registry_source(teams: str) -> RegistrySource:
    """Return the source that `--teams` names: `open`, or a file.

    Raises:
        ConfigError: the file cannot be read, or is not a registry.
    """
    if teams == OPEN:
        return OpenRegistry()
    source = FileRegistry(teams)
    parse_registry(_read(teams), teams)
    return source


class _Cached:
    """A process's copy of a registry file."""

    def __init__(self, path: str, refresh: float) -> None:
        self._path = path
        self._refresh = refresh
        self._looked_at = float("-inf")
        self._text = b""
        self._registry: Registry | None = None

    def current(self) -> Registry:
        now = monotonic()
        if self._registry is None or now >= self._looked_at + self._refresh:
            self._looked_at = now
            self._registry = self._reload()
        return self._registry

    def _reload(self) -> Registry:
        try:
            text = _read(self._path)
            if self._registry is None or text != self._text:
                registry = parse_registry(text, self._path)
                self._text = text
                return registry
        except ConfigError as error:
            if self._registry is None:
                raise
            logger.error("The last good team registry stays in force: %s", error)
        return self._registry


@once_a_process(16)
def _cached(source: FileRegistry) -> _Cached:
    return _Cached(source.path, source.refresh)


def _read(path: str) -> bytes:
    try:
        with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            text: bytes = file.read(MAX_BYTES + 1)
    except Exception as error:  # each filesystem has errors of its own
        raise ConfigError(f"the team registry {path} cannot be read: {error}", "check --teams, or use --teams open") from error
    if len(text) > MAX_BYTES:
        raise ConfigError(f"the team registry {path} is larger than {MAX_BYTES} bytes", "check --teams")
    return text
