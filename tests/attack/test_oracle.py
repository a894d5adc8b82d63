"""The judge of the campaigns itself: it acquits tables that are right, and convicts of each harm by its name."""

import gzip
import json
from collections.abc import Callable

import pytest

from tests.attack.chaos import ZERO, Tables, Watch, count, wrong
from tests.attack.oracle import LATE_TOKEN, Oracle

World = dict[str, list[list[str]]]


class Made(Tables):
    """Tables as they must be after a campaign, made from what its oracle knows; tests harm them."""

    def __init__(self, oracle: Oracle) -> None:
        ids = [[str(team), uuid] for team, uuid in sorted(oracle.expected | oracle.late)]
        users = sorted({(team, user) for team, user in oracle.latest} | {(team, user) for (team, _), user in oracle.merged.items()})
        names = [[str(team), user, f"person of {user}"] for team, user in users]
        names += [[str(team), name, f"person of {user}"] for (team, name), user in oracle.merged.items()]
        late = json.dumps({"api_key": LATE_TOKEN, "event": "page"}).encode()
        self.world: World = {
            "events": [*ids],
            "events_unique": [*ids],
            "dead_letters": [[gzip.compress(mark).hex()] for mark in sorted(oracle.rubbish)] + [[late.hex()]],
            "person_distinct_ids": names,
            "persons": [[str(team), f"person of {user}", json.dumps({"n": oracle.latest.get((team, user), 0)})] for team, user in users],
        }

    def rows(self, sql: str) -> list[list[str]]:
        return self.world[sql.rpartition("FROM ")[2]]


@pytest.fixture
def oracle() -> Oracle:
    oracle = Oracle(7)
    list(oracle.lines(2_000))
    assert all((oracle.duplicates, oracle.rubbish, oracle.late, oracle.merged, oracle.latest)), "it has some of each"
    return oracle


def verdict(oracle: Oracle, tables: Made, watch: Watch | None = None) -> dict[str, object]:
    found = count(oracle, tables, watch or Watch(tables)) | {"not at the end of the topic": 0}
    assert found.keys() == set(ZERO)
    return wrong(found | {"audit": "balanced"})


def test_what_is_right_is_acquitted(oracle: Oracle) -> None:
    assert verdict(oracle, Made(oracle)) == {}


def hide(world: World) -> None:
    world["events_unique"].pop()


def double(world: World) -> None:
    world["events"].append(world["events"][0])


def show_twice(world: World) -> None:
    world["events_unique"].append(world["events"][0])


def make_up(world: World) -> None:
    world["events"].append(["1", "00000000-0000-4000-8000-000000000000"])


def forget_rubbish(world: World) -> None:
    world["dead_letters"].pop(0)


def bury_a_good_one(world: World) -> None:
    world["dead_letters"].append([b'{"api_key": "phc_first", "event": "page"}'.hex()])


def part(world: World) -> None:
    world["person_distinct_ids"][-1][2] = "somebody else"


def go_back(world: World) -> None:
    world["persons"][0][2] = '{"n": -1}'


def unite(world: World) -> None:
    team, user = world["person_distinct_ids"][1][0], world["person_distinct_ids"][0][2]
    of_the_second = world["person_distinct_ids"][1][2]
    for row in world["person_distinct_ids"]:
        if row[0] == team and row[2] == of_the_second:
            row[2] = user


@pytest.mark.parametrize(
    ("harm", "of"),
    [
        (hide, {"lost"}), (double, {"doubled after compact"}), (show_twice, {"shown twice at the end"}), (make_up, {"made up"}),
        (forget_rubbish, {"rubbish without a letter"}), (bury_a_good_one, {"letters that are no rubbish"}),
        (part, {"not merged"}), (go_back, {"wrong properties"}), (unite, {"users in one", "wrong properties"}),
    ],
)  # fmt: skip
def test_each_harm_is_named(harm: Callable[[World], None], of: set[str], oracle: Oracle) -> None:
    tables = Made(oracle)
    harm(tables.world)
    assert set(verdict(oracle, tables)) == of


def test_a_watch_sees_what_heals(oracle: Oracle) -> None:
    tables = Made(oracle)
    right, watch = tables.world["events_unique"], Watch(tables)
    for looked_at in (right[:-1], [*right, right[0]], right[1:], right):
        tables.world["events_unique"] = looked_at
        watch.look()
    assert verdict(oracle, tables, watch) == {"shown twice at a look": 1, "vanished at a look": 1}
    assert watch.looks == 4


def test_an_audit_that_convicts_is_wrong() -> None:
    assert wrong(dict.fromkeys(ZERO, 0) | {"audit": [{"kind": "rows_missing"}]}) == {"audit": [{"kind": "rows_missing"}]}
