"""The team registry: which token belongs to which team, and what each team may send."""

import tomllib
from collections.abc import Mapping
from typing import Any

import msgspec

from schemas.errors import ConfigError
from schemas.identity import open_team_id

OPEN = "open"


class TeamLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a team may send.

    Attributes:
        events_per_hour: events of one hour of arrival; None for no limit.
        drop_tokens: tokens whose events are limited.
        drop_distinct_ids: distinct ids whose events are limited.
    """

    events_per_hour: int | None = None
    drop_tokens: frozenset[str] = frozenset()
    drop_distinct_ids: frozenset[str] = frozenset()


class Team(msgspec.Struct, frozen=True):
    """A customer. `id` is positive, `tokens` are those its clients send."""

    id: int
    name: str
    tokens: tuple[str, ...]
    limits: TeamLimits = TeamLimits()


class Registry(msgspec.Struct, frozen=True):
    """Teams by token and by id. With `open`, any token that is well formed has a team of its own."""

    by_token: Mapping[str, int]
    limits: Mapping[int, TeamLimits]
    open: bool = False
    defaults: TeamLimits = TeamLimits()
    dropped_tokens: frozenset[str] = frozenset()  # those of all teams' `drop_tokens`

    def team_id(self, token: str) -> int | None:
        """Return the id of the team that a token belongs to, or None."""
        found = self.by_token.get(token)
        return open_team_id(token) if found is None and self.open else found

    def limits_of(self, team_id: int) -> TeamLimits:
        """Return what a team may send."""
        return self.limits.get(team_id, self.defaults)


OPEN_REGISTRY = Registry(by_token={}, limits={}, open=True)


class _RegistryFile(msgspec.Struct, forbid_unknown_fields=True):
    teams: list[dict[str, Any]]
    limits: dict[str, Any] = {}


class _TeamEntry(msgspec.Struct, forbid_unknown_fields=True):
    id: int
    tokens: tuple[str, ...]
    name: str = ""
    limits: dict[str, Any] = {}


def parse_registry(text: bytes, path: str) -> Registry:
    """Return the registry of a TOML file: `[[teams]]` with id, name, tokens and `[teams.limits]`; `[limits]` are the defaults.

    Args:
        text: the file's bytes.
        path: the file, for messages.

    Raises:
        ConfigError: not TOML, an unknown or ill-typed field, an id that is not positive, an id or a token that is there twice.
    """
    try:
        file = msgspec.convert(tomllib.loads(text.decode()), _RegistryFile)
        entries = [msgspec.convert(entry, _TeamEntry) for entry in file.teams]
        defaults = msgspec.convert(file.limits, TeamLimits)
        limits = {entry.id: msgspec.convert({**file.limits, **entry.limits}, TeamLimits) for entry in entries}
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"the team registry {path} cannot be read: {error}", "see docs/teams.md for its form") from error
    by_token: dict[str, int] = {}
    for entry in entries:
        if entry.id <= 0:
            raise ConfigError(f"the team registry {path} has a team with id {entry.id}", "ids are positive integers")
        for token in entry.tokens:
            if by_token.setdefault(token, entry.id) != entry.id:
                raise ConfigError(f"the team registry {path} gives a token of team {entry.id} to team {by_token[token]} too")
    if len(limits) != len(entries):
        raise ConfigError(f"the team registry {path} has two teams with one id", "give each team an id of its own")
    dropped = frozenset(token for each in limits.values() for token in each.drop_tokens)
    return Registry(by_token=by_token, limits=limits, defaults=defaults, dropped_tokens=dropped)
