"""The registry file: what a good one means, and that a bad one is refused whole, with its path and the place of the mistake."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigError
from schemas.teams import OPEN_REGISTRY, Registry, TeamLimits, parse_registry

PATH = "gs://config/teams.toml"

GOOD = """
[limits]
events_per_hour = 1_000
drop_distinct_ids = ["load-test"]

[[teams]]
id = 1
name = "Größenwahn"
tokens = ["phc_one", "phc_uno"]

[[teams]]
id = 9_223_372_036_854_775_807
tokens = ["phc_two"]
[teams.limits]
events_per_hour = 0
drop_tokens = ["phc_two"]

[[teams]]
id = 3
tokens = []
limits = { drop_distinct_ids = [] }
"""


def parse(text: str) -> Registry:
    return parse_registry(text.encode(), PATH)


def team(fields: str = "id = 1\ntokens = ['a']") -> str:
    return f"[[teams]]\n{fields}\n"


def test_tokens_lead_to_teams() -> None:
    registry = parse(GOOD)
    assert [registry.team_id(token) for token in ("phc_one", "phc_uno", "phc_two")] == [1, 1, 2**63 - 1]
    assert [registry.team_id(token) for token in ("phc_three", "", "PHC_ONE", " phc_one")] == [None] * 4


def test_limits_of_the_file_are_defaults_that_a_team_overrides_one_by_one() -> None:
    registry = parse(GOOD)
    ids = frozenset({"load-test"})
    assert registry.limits_of(1) == TeamLimits(1000, frozenset(), ids)
    assert registry.limits_of(2**63 - 1) == TeamLimits(0, frozenset({"phc_two"}), ids)
    assert registry.limits_of(3) == TeamLimits(1000, frozenset(), frozenset())
    assert registry.limits_of(4) == registry.defaults == TeamLimits(1000, frozenset(), ids)


def test_without_limits_a_team_may_send_everything() -> None:
    registry = parse(team())
    assert registry.limits_of(1) == TeamLimits(None, frozenset(), frozenset())
    assert registry.dropped_tokens == frozenset()


def test_a_registry_without_teams_knows_no_token() -> None:
    assert parse("teams = []").team_id("a") is None


def test_a_team_may_say_a_token_twice() -> None:
    assert parse(team("id = 1\ntokens = ['a', 'a']")).by_token == {"a": 1}


def test_tokens_are_dropped_by_their_own_team() -> None:
    registry = parse(team("id = 1\ntokens = ['a', 'b', 'c']\nlimits.drop_tokens = ['b', 'c', 'nobodys']"))
    assert registry.dropped_tokens == {"b", "c"}


def test_a_team_cannot_drop_the_tokens_of_another() -> None:
    registry = parse(team("id = 1\ntokens = ['a']\nlimits.drop_tokens = ['a', 'b']") + team("id = 2\ntokens = ['b']"))
    assert registry.dropped_tokens == {"a"}


def test_default_drop_tokens_hold_for_teams_that_do_not_say_otherwise() -> None:
    defaults = "[limits]\ndrop_tokens = ['a', 'b']\n"
    registry = parse(defaults + team("id = 1\ntokens = ['a']") + team("id = 2\ntokens = ['b']\nlimits.drop_tokens = []"))
    assert registry.dropped_tokens == {"a"}


def limited(limit: str) -> str:
    return team(f"id = 7\ntokens = ['a']\nlimits.{limit}")


BAD = {
    "empty": ("", "`teams`"),
    "not TOML": ("<html>504 Gateway Time-out</html>", "line 1"),
    "cut off": (GOOD[:-3], "line"),
    "TOML that nests too deep": ("teams = " + "[" * 3000, "recursion"),
    "a number of 5,000 digits": ("[[teams]]\nid = " + "9" * 5000, "4300 digits"),
    "unknown field of the file": ("team = 3\n" + team(), "`team`"),
    "teams is no list": ("teams = 3", "$.teams"),
    "a team that is no table": ("teams = [1]", "$.teams[0]"),
    "unknown field of a team": (team() + team("id = 2\ntokens = ['b']\ntoken = 'c'"), "entry 2 of `teams`: Object contains unknown field"),
    "id missing": (team("tokens = ['a']"), "entry 1 of `teams`: Object missing required field `id`"),
    "tokens missing": (team("id = 1"), "entry 1 of `teams`: Object missing required field `tokens`"),
    "id is text": (team("id = '1'\ntokens = ['a']"), "$.id"),
    "id is a float": (team("id = 1.0\ntokens = ['a']"), "$.id"),
    "id is a truth value": (team("id = true\ntokens = ['a']"), "$.id"),
    "id 0": (team("id = 0\ntokens = ['a']"), "Expected `int` >= 1 - at `$.id`"),
    "id negative": (team("id = -4\ntokens = ['a']"), "$.id"),
    "id that no table can hold": (team("id = 9223372036854775808\ntokens = ['a']"), "$.id"),
    "id that cannot even be printed": (team(f"id = 0x{'f' * 9000}\ntokens = ['a']"), "$.id"),
    "name is a number": (team("id = 1\ntokens = ['a']\nname = 3"), "$.name"),
    "tokens is one token": (team("id = 1\ntokens = 'a'"), "$.tokens"),
    "a token that is a number": (team("id = 1\ntokens = ['a', 3]"), "$.tokens[1]"),
    "limits is a number": (team("id = 1\ntokens = ['a']\nlimits = 3"), "$.limits"),
    "unknown limit": (limited("events_per_day = 3"), "`limits` of team 7: Object contains unknown field `events_per_day`"),
    "a limit that is text": (limited("events_per_hour = '1e6'"), "team 7: Expected `int | null`, got `str` - at `$.events_per_hour`"),
    "a limit that is negative": (limited("events_per_hour = -1"), "$.events_per_hour"),
    "a list that is text": (limited("drop_distinct_ids = 'abc'"), "$.drop_distinct_ids"),
    "unknown default": ("[limits]\nfoo = 1\n" + team(), "`limits`: Object contains unknown field `foo`"),
    "a default that is text": ("[limits]\nevents_per_hour = 'x'\n" + team(), "`limits`: Expected `int | null`"),
    "a default that is wrong, and overridden": ("[limits]\nevents_per_hour = 'x'\n" + limited("events_per_hour = 3"), "`limits`:"),
    "an id twice": (team("id = 5\ntokens = ['a']") + team("id = 5\ntokens = ['b']"), "two teams with id 5"),
    "an id twice, with one token": (team("id = 5\ntokens = ['a']") * 2, "two teams with id 5"),
    "a token twice": (team("id = 5\ntokens = ['a']") + team("id = 6\ntokens = ['b', 'a']"), "token 2 of team 6 to team 5 too"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused(name: str) -> None:
    text, told = BAD[name]
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert PATH in caught.value.problem
    assert told in caught.value.problem
    assert caught.value.hint


@pytest.mark.parametrize("text", [b"\xff\xfe[", b"[[teams]]\nid = 1\nname = '\xe9'\ntokens = ['a']", "[[teams]]".encode("utf-16")])
def test_a_file_that_is_not_utf8_is_refused(text: bytes) -> None:
    with pytest.raises(ConfigError, match=r"gs://config/teams\.toml"):
        parse_registry(text, PATH)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_rubbish_is_refused_and_nothing_else_happens(text: bytes) -> None:
    """An empty `teams` is the only registry that random text could spell."""
    try:
        registry = parse_registry(text, PATH)
    except ConfigError:
        return
    assert registry.by_token == {}


def test_open_registry_gives_each_token_a_team_that_never_changes() -> None:
    """Fixed vectors: rows of earlier runs are found under these ids."""
    assert OPEN_REGISTRY.team_id("phc_acme") == 14117911263319
    assert OPEN_REGISTRY.team_id("phc_other") == 52128000657495
    assert OPEN_REGISTRY.team_id("") == 239941098298987
    assert OPEN_REGISTRY.limits_of(14117911263319) == TeamLimits()


def test_a_registry_that_is_open_knows_its_own_tokens_first() -> None:
    registry = Registry(by_token={"a": 7}, limits={}, open=True)
    assert registry.team_id("a") == 7
    assert registry.team_id("b") == OPEN_REGISTRY.team_id("b")


def test_the_example_of_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "teams.md").read_text()
    registry = parse(page.split("```toml\n")[1].split("```")[0])
    assert registry.by_token == {"phc_acme": 1, "phc_acme_mobile": 1, "phc_umbrella": 2, "phc_umbrella_old": 2}
    assert registry.limits_of(1) == TeamLimits(1_000_000)
    assert registry.limits_of(2) == TeamLimits(50_000, frozenset({"phc_umbrella_old"}), frozenset({"load-test", "uptime-probe"}))
    assert registry.dropped_tokens == {"phc_umbrella_old"}
