"""The check of the team registry."""

from collections import Counter

from pipelines.doctor.finding import Finding, Level
from schemas.errors import ConfigError
from schemas.teams import OPEN, Registry
from transforms.io.registry import registry_source


def check_registry(teams: str) -> Finding:
    """Return whether the registry can be read, and what is in it. That two teams have one token, or one id, makes it unreadable.

    Args:
        teams: the file, or `open`.
    """
    if teams == OPEN:
        return Finding("registry", Level.OK, "open: every well-formed token has a team of its own")
    try:
        registry = registry_source(teams).current()
    except ConfigError as error:
        return Finding("registry", Level.FAILURE, error.problem, error.hint or "see docs/teams.md")
    return _of(registry)


def _of(registry: Registry) -> Finding:
    tokens = Counter(registry.by_token.values())
    mute = sorted(set(registry.limits) - set(tokens))
    what = f"{len(registry.limits):,} teams, {len(registry.by_token):,} tokens"
    if not registry.by_token:
        return Finding("registry", Level.FAILURE, what, "no team has a token: every event would be rejected")
    if mute:
        shown = ", ".join(map(str, mute[:5]))
        return Finding("registry", Level.WARNING, f"{what}; without a token: team {shown}", "give them tokens, or leave them out")
    return Finding("registry", Level.OK, what)
