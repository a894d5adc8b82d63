"""The teams of a load: their sizes, tokens, sites and limits, and the registry file that says so to the pipeline."""

import json
from hashlib import sha1

import numpy as np

from pipelines.generate.draws import Bits, Draws, Flags, Ints
from pipelines.generate.plan import Plan

# Teams that have limits, if there are as many teams.
QUOTA_TEAM = 2
PROBE_TEAM = 3  # some of its distinct ids are dropped
RETIRED_TEAM = 4  # one of its tokens is dropped
PROBES = ("load-test", "uptime-probe")

SECOND_TOKEN_EVERY = 5  # teams
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_TRADES = ("Bakery", "Cycles", "Books", "Größenwahn", "Garden", "Müller & Söhne", "茶屋", 'The "Corner" Shop')


class Teams:
    """Know everything about the teams of a plan. Team ids are 1 to `plan.teams`; team 1 sends most.

    Args:
        plan: how many teams and events.
        draws: random numbers of the plan's seed.
    """

    def __init__(self, plan: Plan, draws: Draws) -> None:
        self._draws = draws
        self.count = plan.teams
        weights = 1.0 / np.arange(1, plan.teams + 1)
        self._cumulated = np.cumsum(weights) / weights.sum()
        shares = weights / weights.sum()
        self.users = np.concatenate([[1], np.clip((shares * plan.events / 30).astype(np.int64), 5, 2**31)])
        self.hosts = [b""] + [f"www.shop{team}.example".encode() for team in range(1, plan.teams + 1)]
        self.tokens = [_token(plan.seed, number) for number in range(2 * plan.teams + 2)]

    def of_sessions(self, sessions: Ints) -> Ints:
        """Return each session's team id."""
        # The sum of shares may fall short of 1 by a rounding.
        found = np.searchsorted(self._cumulated, self._draws.share("team", sessions), side="right")
        return np.minimum(found, self.count - 1) + 1

    def tokens_of(self, team: Ints, who: Ints | Bits) -> Ints:
        """Return the index in `tokens` of the token that is used: the team's second one in a fifth of what it sends."""
        second = self._has_second(team) & (self._draws.share("token", who) < 0.2)
        return 2 * team + second

    def registry(self, events_per_hour: int | None) -> str:
        """Return the text of teams.toml (schemas/teams.py).

        Args:
            events_per_hour: the quota of the team that has one.
        """
        return "\n".join(self._entry(team, events_per_hour) for team in range(1, self.count + 1))

    def _has_second(self, team: Ints) -> Flags:
        found: Flags = (team % SECOND_TOKEN_EVERY == 0) | (team == RETIRED_TEAM)
        return found

    def _entry(self, team: int, events_per_hour: int | None) -> str:
        second = team % SECOND_TOKEN_EVERY == 0 or team == RETIRED_TEAM
        tokens = [self.tokens[2 * team + number].decode() for number in range(2 if second else 1)]
        name = f"{_TRADES[team % len(_TRADES)]} {team}"
        lines = ["[[teams]]", f"id = {team}", f"name = {_toml(name)}", f"tokens = {_toml(tokens)}"]
        limits = self._limits(team, events_per_hour)
        return "\n".join([*lines, *(["[teams.limits]", limits] if limits else []), ""])

    def _limits(self, team: int, events_per_hour: int | None) -> str:
        if team == QUOTA_TEAM and events_per_hour is not None:
            return f"events_per_hour = {events_per_hour}"
        if team == PROBE_TEAM:
            return f"drop_distinct_ids = {_toml(list(PROBES))}"
        if team == RETIRED_TEAM:
            return f"drop_tokens = {_toml([self.tokens[2 * team + 1].decode()])}"
        return ""


def _token(seed: int, number: int) -> bytes:
    value = int.from_bytes(sha1(f"{seed}:token:{number}".encode()).digest() * 2, "big")
    letters = []
    for _ in range(43):
        value, place = divmod(value, len(_ALPHABET))
        letters.append(_ALPHABET[place])
    return ("phc_" + "".join(letters)).encode()


def _toml(value: str | list[str]) -> str:
    """Return a basic string or an array of them; JSON writes both as TOML does."""
    return json.dumps(value, ensure_ascii=False)
