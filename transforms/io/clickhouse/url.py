"""Sink URLs come in, typed addresses go out. No message ever repeats a part of the URL that may hold a password.

The password may also stay where it is: `password_env=VARIABLE` or `password_file=PATH` instead of `user:password@` (transforms/secret.py).
"""

import os
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from schemas.errors import ConfigError
from transforms.secret import NO_SECRET, Secret, secret_of

FORMS = "a sink is chdb:PATH or clickhouse://user@host:port/database?password_env=VARIABLE&secure=true&verify=true&ca_certs=FILE"
PORT, SECURE_PORT = 9000, 9440
_PARAMETERS = {"secure", "verify", "ca_certs", "password_env", "password_file", "durability", "insert_quorum"}
_DURABILITY = {"", "none", "fsync"}
_SWITCH = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class EmbeddedAt:
    """Where an embedded database lives.

    Args:
        path: an absolute path of a directory.
        durability: as in ServerAt.
    """

    path: str
    durability: str = ""

    @property
    def where(self) -> str:
        """Return the URL."""
        return f"chdb:{self.path}{f'?durability={self.durability}' if self.durability else ''}"


@dataclass(frozen=True)
class ServerAt:
    """How a server is reached.

    Args:
        secure: use TLS.
        verify: check the server's certificate and its host name.
        ca_certs: a PEM file of certificates to trust; the system's if empty.
        durability: what the tables must be: `none` or `fsync` (transforms/io/durability.py), or anything.
        insert_quorum: passed on with each insert; 0 is the server's own.
    """

    host: str
    port: int
    user: str = "default"
    password: Secret = NO_SECRET
    database: str = "default"
    secure: bool = False
    verify: bool = True
    ca_certs: str = ""
    durability: str = ""
    insert_quorum: int = 0

    @property
    def address(self) -> str:
        """Return host and port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def where(self) -> str:
        """Return the URL without a password that stands in it."""
        options = [
            ("secure", "true" if self.secure else ""),
            ("verify", "" if self.verify else "false"),
            ("ca_certs", self.ca_certs),
            ("durability", self.durability),
            ("insert_quorum", str(self.insert_quorum or "")),
            *self.password.parameters("password").items(),
        ]
        query = "&".join(f"{name}={quote(value, safe='/')}" for name, value in options if value)
        url = f"clickhouse://{quote(self.user, safe='')}@{self.address}/{quote(self.database, safe='')}"
        return f"{url}?{query}" if query else url


def parse(url: str) -> EmbeddedAt | ServerAt:
    """Return what a URL means.

    Raises:
        ConfigError: it is no sink URL; the message does not repeat it.
    """
    scheme, colon, rest = url.partition(":")
    if colon and scheme == "chdb":
        return _parse_embedded(rest)
    if colon and scheme == "clickhouse":
        return _parse_server(url)
    raise ConfigError(f"unknown kind of sink {scheme if colon else ''!r}", FORMS)


def _parse_embedded(rest: str) -> EmbeddedAt:
    path, _, durability = rest.partition("?durability=")
    if not path or "?" in path or durability not in _DURABILITY or (path.startswith("//") and not path.startswith("///")):
        hint = "a path follows `chdb:` at once, as in chdb:db or chdb:/var/lib/sluice; it has no `?` but in ?durability=none or =fsync"
        raise ConfigError(f"chdb:{rest}: not a path", hint)
    return EmbeddedAt(os.path.abspath(os.path.expanduser(path)), durability)


def _parse_server(url: str) -> ServerAt:
    parts = _split(url)
    options = _options(parts.query)
    secure = options.get("secure", "") == "true"
    host, port = _host_and_port(parts)
    return ServerAt(
        host=host,
        port=port or (SECURE_PORT if secure else PORT),
        user=unquote(parts.username or "") or "default",
        password=secret_of(options, "password", unquote(parts.password or "")),
        database=_database(parts.path),
        secure=secure,
        verify=options.get("verify", "true") == "true",
        ca_certs=_certificates(options.get("ca_certs", "")),
        durability=options.get("durability", ""),
        insert_quorum=int(options.get("insert_quorum", "0")),
    )


def _split(url: str) -> SplitResult:
    encode = "percent-encode special characters of user and password: / is %2F, ? is %3F, # is %23, @ is %40, [ is %5B"
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is None or parts.fragment or "@" in parts.path + parts.query or not url.startswith("clickhouse://"):
        raise ConfigError("clickhouse://...: cannot take the URL apart", f"{FORMS}; {encode}")
    return parts


def _host_and_port(parts: SplitResult) -> tuple[str, int | None]:
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigError("clickhouse://...: the port is not a number from 1 to 65535", FORMS) from None
    if not host:
        raise ConfigError("clickhouse://...: the host is missing", FORMS)
    if port == 0:
        raise ConfigError("clickhouse://...: the port is not a number from 1 to 65535", FORMS)
    return unquote(host), port


def _database(path: str) -> str:
    name = unquote(path.removeprefix("/").removesuffix("/"))
    if "/" in name:
        raise ConfigError(f"clickhouse://.../{name}: a database has one name", FORMS)
    return name or "default"


def _options(query: str) -> dict[str, str]:
    """Return the options by name, switches as `true` or `false`."""
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(options.keys() - _PARAMETERS):
        raise ConfigError(f"clickhouse://...: unknown parameter {unknown[0]!r}", FORMS)
    for name in options.keys() & {"secure", "verify"}:
        if options[name].lower() not in _SWITCH:
            raise ConfigError(f"clickhouse://...: {name}={options[name]}: neither true nor false", FORMS)
        options[name] = "true" if _SWITCH[options[name].lower()] else "false"
    if options.get("durability", "") not in _DURABILITY:
        raise ConfigError(f"clickhouse://...: durability={options['durability']}: neither none nor fsync", FORMS)
    if not re.fullmatch(r"\d{1,4}", options.get("insert_quorum", "0")):
        raise ConfigError(f"clickhouse://...: insert_quorum={options['insert_quorum']}: not a number of replicas", FORMS)
    return options


def _certificates(path: str) -> str:
    if path and not os.path.isfile(path):
        raise ConfigError(f"clickhouse://...: ca_certs={path}: no such file", "it is a PEM file of the certificates to trust")
    return path
