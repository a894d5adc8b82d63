"""The team registry: which token belongs to which team, and what each team may send."""

import re
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from schemas.errors import ConfigError
from schemas.identity import open_team_id
from schemas.limits import MAX_GROUP_TYPES

OPEN = "open"
GROUP_TYPES = ("organization", "company", "project", "team", "instance")  # of a team that names none
MAX_KEY_PARTS = 16  # of a dotted key; three are the most that mean anything
MAX_DIGITS = 4_300  # of a number, as in Python
MAX_INT64 = 2**63 - 1  # `team_id` is an Int64 in all tables

_Kind = TypeVar("_Kind")


class TeamLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a team may send.

    Attributes:
        events_per_hour: events of one hour of arrival; None for no limit.
        drop_tokens: tokens of the team whose events are limited.
        drop_distinct_ids: distinct ids whose events are limited.
    """

    events_per_hour: Annotated[int, msgspec.Meta(ge=0, le=MAX_INT64)] | None = None
    drop_tokens: frozenset[str] = frozenset()
    drop_distinct_ids: frozenset[str] = frozenset()


class Registry(msgspec.Struct, frozen=True):
    """Teams by token and by id. With `open`, any token that is well formed has a team of its own."""

    by_token: Mapping[str, int]
    limits: Mapping[int, TeamLimits]
    open: bool = False
    defaults: TeamLimits = TeamLimits()
    group_types: Mapping[int, tuple[str, ...]] = {}
    dropped_tokens: frozenset[str] = frozenset()  # those in their own team's `drop_tokens`

    def team_id(self, token: str) -> int | None:
        """Return the id of the team that a token belongs to, or None."""
        found = self.by_token.get(token)
        return open_team_id(token) if found is None and self.open else found

    def limits_of(self, team_id: int) -> TeamLimits:
        """Return what a team may send."""
        return self.limits.get(team_id, self.defaults)

    def group_types_of(self, team_id: int) -> tuple[str, ...]:
        """Return a team's types of groups, in the order of the columns `$group_0` to `$group_4`."""
        return self.group_types.get(team_id, GROUP_TYPES)


OPEN_REGISTRY = Registry(by_token={}, limits={}, open=True)


class _RegistryFile(msgspec.Struct, forbid_unknown_fields=True):
    teams: list[dict[str, Any]]
    limits: dict[str, Any] = {}


class _TeamEntry(msgspec.Struct, forbid_unknown_fields=True):
    id: Annotated[int, msgspec.Meta(ge=1, le=MAX_INT64)]
    tokens: tuple[str, ...]
    name: str = ""
    group_types: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_GROUP_TYPES)] = GROUP_TYPES
    limits: dict[str, Any] = {}


def parse_registry(text: bytes, path: str) -> Registry:
    """Return the registry of a TOML file: `[[teams]]` with id, name, tokens and `[teams.limits]`; `[limits]` are the defaults.

    Args:
        text: the file's bytes.
        path: the file, for messages.

    Raises:
        ConfigError: not TOML, an unknown or ill-typed field, a number out of range, an id or a token that is there twice.
    """
    try:
        _check_cost(text)
        # tomllib lets through the errors of very long numbers (ValueError) and deep nesting (RecursionError).
        file = _convert(tomllib.loads(text.decode()), _RegistryFile, "the file")
        entries = [_convert(entry, _TeamEntry, f"entry {place} of `teams`") for place, entry in enumerate(file.teams, 1)]
        defaults = _convert(file.limits, TeamLimits, "`limits`")
        limits = {entry.id: _convert({**file.limits, **entry.limits}, TeamLimits, f"`limits` of team {entry.id}") for entry in entries}
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the team registry {path} cannot be read: {error}", "see docs/teams.md for its form") from error
    by_token = _by_token(entries, path)
    dropped = frozenset(token for token, team in by_token.items() if token in limits[team].drop_tokens)
    group_types = {entry.id: entry.group_types for entry in entries}
    return Registry(by_token=by_token, limits=limits, defaults=defaults, group_types=group_types, dropped_tokens=dropped)


# Strings and comments of TOML, also those that never end.
_QUOTED = re.compile(
    rb'''"""(?:[^"\\]++|\\.|"(?!""))*+(?:"""|\\?\Z)''' + rb"|'''(?:[^']++|'(?!''))*+(?:''')?"
    rb'|"(?:[^"\\\n]++|\\.)*+"?' + rb"|'[^'\n]*+'?" + rb"|#[^\n]*+", re.S,
)  # fmt: skip
_DIGITS = re.compile(rb"[0-9_]++")
_OF_KEYS = bytes(byte for byte in range(128) if chr(byte).isalnum() or chr(byte) in "_- \t\r")


def _check_cost(text: bytes) -> None:
    """Raise ValueError for what takes tomllib minutes, or gigabytes: the square of a key's parts, and kilobytes for each digit."""
    bare = _QUOTED.sub(b" ", text)
    if b"." * MAX_KEY_PARTS in bare.translate(None, _OF_KEYS):
        raise ValueError(f"a key has more than {MAX_KEY_PARTS} parts")
    if any(found.end() - found.start() > MAX_DIGITS for found in _DIGITS.finditer(bare)):
        raise ValueError(f"a number has more than {MAX_DIGITS} digits")


def _convert(value: Any, kind: type[_Kind], where: str) -> _Kind:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{where}: {error}") from error


def _by_token(entries: list[_TeamEntry], path: str) -> dict[str, int]:
    """Return team ids by token; raise if an id is there twice, or if two teams have one token."""
    by_token: dict[str, int] = {}
    seen: set[int] = set()
    for entry in entries:
        if entry.id in seen:
            raise ConfigError(f"the team registry {path} has two teams with id {entry.id}", "give each team an id of its own")
        seen.add(entry.id)
        for place, token in enumerate(entry.tokens, 1):
            if by_token.setdefault(token, entry.id) != entry.id:
                problem = f"the team registry {path} gives token {place} of team {entry.id} to team {by_token[token]} too"
                raise ConfigError(problem, "a token belongs to one team")
    return by_token
