"""The views of persons and groups: what registers become, by SQL, against the same by brute force."""

import itertools
import json
import random
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import pyarrow as pa

from schemas.limits import MAX_PERSON_BYTES, TRIMMED_PERSON_BYTES
from schemas.persons import PROTECTED
from schemas.tables import migrations
from transforms.io.clickhouse import Client, close_all, shared

NAMESPACE = UUID("932979b4-65c3-4424-8467-0b66ec27bc22")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SET, ONCE, FIRST_SEEN, IDENTIFIED, LINK, FORCED, CREATED = range(7)
ZEROS, ONES = bytes(16), b"\x01" * 16


class Fact(NamedTuple):
    """A register's content, by its time instead of its order."""

    team: int
    id: str
    kind: int
    at: int
    key: str = ""
    value: str = ""
    uuid: bytes = ZEROS
    person: bytes = ZEROS

    @property
    def order(self) -> int:
        return self.at if self.kind == SET else -self.at


def insert(client: Client, facts: Iterable[Fact]) -> None:
    facts = list(facts)
    _insert(client, "person_properties", [fact for fact in facts if fact.kind in (SET, ONCE)])
    _insert(client, "person_links", [fact for fact in facts if fact.kind not in (SET, ONCE)])


def _insert(client: Client, table: str, facts: list[Fact]) -> None:
    columns = {
        "bucket": pa.array([fact.person[0] for fact in facts], pa.uint8()),
        "person_id": pa.array([fact.person for fact in facts], pa.binary(16)),
        "team_id": pa.array([fact.team for fact in facts], pa.int64()),
        "distinct_id": pa.array([fact.id for fact in facts], pa.string()),
        "kind": pa.array([fact.kind for fact in facts], pa.int8()),
        "key": pa.array([fact.key for fact in facts], pa.string()),
        "order": pa.array([fact.order for fact in facts], pa.int64()),
        "uuid": pa.array([fact.uuid for fact in facts], pa.binary(16)),
        "value": pa.array([fact.value.encode() for fact in facts], pa.binary()),
    }
    if facts:
        client.insert(table, pa.table(columns))


# The same by brute force.


def merged(facts: Iterable[Fact]) -> dict[tuple[int, str, int, str], tuple[int, bytes, str]]:
    registers: dict[tuple[int, str, int, str], tuple[int, bytes, str]] = {}
    for fact in facts:
        if fact.kind != CREATED:
            name, content = (fact.team, fact.id, fact.kind, fact.key), (fact.order, fact.uuid, fact.value)
            registers[name] = max(registers.get(name, content), content)
    return registers


class Expected:
    """What the views must show of facts."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        self.registers = merged(facts)
        self.ids = {(team, name) for team, name, _, _ in self.registers}
        self.edges = set()
        for (team, name, kind, key), (order, _, value) in self.registers.items():
            target = {LINK: value, FORCED: key}.get(kind)
            if target is not None:
                self.ids.add((team, target))
                identified = self.registers.get((team, name, IDENTIFIED, ""))
                if target != name and (kind == FORCED or identified is None or -identified[0] >= -order):
                    self.edges.add((team, name, target))
        self.canonical = self._canonical()

    def _canonical(self) -> dict[tuple[int, str], str]:
        component = {one: {one} for one in self.ids}
        for team, source, target in self.edges:
            together = component[team, source] | component[team, target]
            for one in together:
                component[one] = together
        sources = {(team, source) for team, source, _ in self.edges}
        return {one: min(all_ids - sources or all_ids)[1] for one, all_ids in component.items()}

    def person(self, team: int, name: str) -> UUID:
        return uuid5(NAMESPACE, f"{team}:{self.canonical[team, name]}")

    def distinct_ids(self) -> list[tuple[Any, ...]]:
        return sorted((team, name, self.person(team, name)) for team, name in self.ids)

    def persons(self) -> list[tuple[Any, ...]]:
        seen: dict[tuple[int, UUID], int] = {}
        identified = {(team, self.person(team, source)) for team, source, _ in self.edges}
        values: dict[tuple[int, UUID], dict[tuple[str, int], tuple[int, bytes, str]]] = defaultdict(dict)
        for (team, name, kind, key), content in self.registers.items():
            person = team, self.person(team, name)
            if kind == FIRST_SEEN:
                seen[person] = min(seen.get(person, -content[0]), -content[0])
            elif kind == IDENTIFIED:
                identified.add(person)
            elif kind in (SET, ONCE):
                values[person][key, kind] = max(values[person].get((key, kind), content), content)
        return sorted((*one, EPOCH + at * timedelta(microseconds=1), one in identified, _shown(values[one])) for one, at in seen.items())


def _shown(values: dict[tuple[str, int], tuple[int, bytes, str]]) -> str:
    members = {}
    for key in {key for key, _ in values}:
        latest, once = values.get((key, SET)), values.get((key, ONCE))
        if latest is None or (latest[2] in ("null", "") and once is not None and -once[0] > latest[0]):
            latest = once
        assert latest is not None
        if latest[2]:
            members[key] = latest[2]
    return "{" + ",".join(f"{json.dumps(key, ensure_ascii=False)}:{members[key]}" for key in sorted(members)) + "}"


def distinct_ids(client: Client, where: str = "1") -> list[tuple[Any, ...]]:
    return sorted(client.rows(f"SELECT team_id, distinct_id, person_id FROM person_distinct_ids WHERE {where}"))


def persons(client: Client, where: str = "1") -> list[tuple[Any, ...]]:
    return sorted(client.rows(f"SELECT team_id, id, created_at, is_identified, properties FROM persons WHERE {where}"))


def properties(client: Client) -> dict[int, str]:
    return dict(client.rows("SELECT team_id, properties FROM persons"))


def random_facts(rng: random.Random, team: int) -> list[Fact]:
    names = rng.sample(["a", "b", "c", "d", "B", "aa", "é", "日", "😀", "", "ｚ", "~"], rng.randint(2, 9))
    kinds = rng.choice(
        [(SET, ONCE, FIRST_SEEN, IDENTIFIED, LINK, FORCED, CREATED), (FIRST_SEEN, LINK, FORCED), (LINK, LINK, IDENTIFIED, FIRST_SEEN)]
    )
    facts = []
    for _ in range(rng.randint(1, 18)):
        kind, name = rng.choice(kinds), rng.choice(names)
        key = rng.choice(names) if kind == FORCED else rng.choice("xyZ") if kind in (SET, ONCE) else ""
        value = rng.choice(names) if kind == LINK else rng.choice(["1", '"2"', "null", ""]) if kind == SET else "3" if kind == ONCE else ""
        uuid = rng.choice([ONES, b"\x7f" * 16, b"\xff" * 16]) if kind in (SET, ONCE, LINK) else ZEROS
        facts.append(Fact(team, name, kind, rng.randint(1, 6), key, value, uuid, rng.choice([ZEROS, ONES])))
    return facts


def test_random_facts_give_what_brute_force_gives(client: Client) -> None:
    """In several inserts, with ties, and with facts that are stored twice, under two persons."""
    rng = random.Random(1)
    facts = [fact for team in range(1, 301) for fact in random_facts(rng, team)]
    again = [fact._replace(person=b"\x02" * 16) for fact in rng.sample(facts, len(facts) // 5)]
    every = rng.sample(facts + again, len(facts + again))
    for part in range(3):
        insert(client, every[part::3])
    expected = Expected(facts)
    assert len(expected.edges) > 500
    assert distinct_ids(client) == expected.distinct_ids()
    assert persons(client) == expected.persons()
    # with filters that ClickHouse moves into the view
    assert distinct_ids(client, "distinct_id = 'a'") == [row for row in expected.distinct_ids() if row[1] == "a"]
    assert distinct_ids(client, "team_id = 7") == [row for row in expected.distinct_ids() if row[0] == 7]
    assert persons(client, "team_id < 20 AND is_identified") == [row for row in expected.persons() if row[0] < 20 and row[3]]


def test_the_recursion_gives_the_same_outside_of_a_view(client: Client) -> None:
    """ClickHouse plans the two differently (0003_person_views.sql)."""
    rng = random.Random(2)
    facts = [fact for team in range(1, 101) for fact in random_facts(rng, team)]
    insert(client, facts)
    create = "CREATE OR REPLACE VIEW person_canonical_ids AS"
    query = next(one for step in migrations() for one in step.statements if one.startswith(create)).removeprefix(create)
    expected = Expected(facts)
    connected = {(team, name) for team, source, target in expected.edges for name in (source, target)}
    rows = sorted((*one, expected.canonical[one]) for one in connected)
    assert sorted(client.rows(query)) == rows
    assert sorted(client.rows("SELECT team_id, distinct_id, canonical_id FROM person_canonical_ids")) == rows


def test_views_are_the_same_after_a_restart(client: Client) -> None:
    insert(
        client,
        [Fact(1, f"n{one}", FORCED, 1, f"n{one + 1}") for one in range(30)]
        + [Fact(1, "n5", FIRST_SEEN, 3), Fact(1, "n5", SET, 1, "k", "1")],
    )
    before = distinct_ids(client), persons(client)
    where = client.where
    close_all()
    reopened = shared(where)
    assert (distinct_ids(reopened), persons(reopened)) == before
    assert {row[2] for row in before[0]} == {uuid5(NAMESPACE, "1:n30")}


def test_views_can_be_read_where_joins_give_nulls(client: Client) -> None:
    insert(
        client, [Fact(1, "a", LINK, 1, "", "u"), Fact(1, "a", FIRST_SEEN, 1), Fact(1, "b", FIRST_SEEN, 1), Fact(1, "b", SET, 1, "k", "1")]
    )
    for view, count in (("person_distinct_ids", 3), ("persons", 2), ("events_resolved", 0)):
        assert len(client.rows(f"SELECT * FROM {view} SETTINGS join_use_nulls = 1")) == count


def test_a_person_id_is_that_of_the_specification(client: Client) -> None:
    insert(
        client,
        [
            Fact(1, "test", FIRST_SEEN, 0),
            Fact(2, "test", SET, 0, "k", "1"),
            Fact(1, "test2", IDENTIFIED, 0),
            Fact(-3, "é\x00", LINK, 0, "", "x"),
        ],
    )
    assert distinct_ids(client) == [
        (-3, "x", uuid5(NAMESPACE, "-3:x")),
        (-3, "é\x00", uuid5(NAMESPACE, "-3:x")),
        (1, "test", UUID("246f7a43-5507-564f-b687-793ee3c2dd79")),
        (1, "test2", UUID("45c17302-ee44-5596-916a-0eba21f4b638")),
        (2, "test", UUID("00ce873a-549c-548e-bbec-cc804a385dd8")),
    ]


def identify(source: str, target: str, at: int) -> list[Fact]:
    return [Fact(0, source, LINK, at, "", target, ONES), Fact(0, target, IDENTIFIED, at)]


def force(source: str, target: str, at: int) -> list[Fact]:
    return [Fact(0, source, FORCED, at, target, "", ONES), Fact(0, target, IDENTIFIED, at)]


alias = identify

# docs/persons.md, "Merges"
MERGES = [
    (identify("a", "u", 10), {"u": "au"}),
    (identify("a", "u", 10) + identify("a", "v", 11), {"u": "au", "v": "v"}),
    (identify("a", "v", 11) + identify("a", "u", 10), {"u": "au", "v": "v"}),
    (alias("b", "a", 9) + identify("a", "u", 10), {"a": "ab", "u": "u"}),
    (identify("a", "u", 9) + alias("b", "a", 10), {"u": "abu"}),
    (force("a", "b", 9) + force("b", "a", 10), {"a": "ab"}),
    (force("a", "b", 9) + force("a", "c", 10), {"b": "abc"}),
    # identified at the time of the link: it holds
    (alias("b", "a", 10) + identify("a", "u", 10), {"u": "abu"}),
    # itself
    (force("a", "a", 9), {"a": "a"}),
]


def test_worked_examples_of_merges(client: Client) -> None:
    """Each example is a team; its facts are inserted one by one, in their order."""
    for place in range(max(len(facts) for facts, _ in MERGES)):
        insert(client, [facts[place]._replace(team=team) for team, (facts, _) in enumerate(MERGES) if place < len(facts)])
    found: dict[int, dict[UUID, str]] = defaultdict(lambda: defaultdict(str))
    for team, name, person in distinct_ids(client):
        found[team][person] += name
    assert found == {team: {uuid5(NAMESPACE, f"{team}:{name}"): ids for name, ids in one.items()} for team, (_, one) in enumerate(MERGES)}


def set_once(value: str, at: int) -> Fact:
    return Fact(0, "u", ONCE, at, "a", value, ONES)


def set_to(value: str, at: int) -> Fact:
    return Fact(0, "u", SET, at, "a", value, ONES)


# docs/persons.md, "Properties"
VALUES = [
    ([set_once("1", 10), set_once("2", 9)], '{"a":2}'),
    ([set_once("1", 10), set_to("2", 9)], '{"a":2}'),
    ([set_to("1", 10), set_to("2", 9)], '{"a":1}'),
    ([set_to("null", 9), set_once("1", 10)], '{"a":1}'),
    ([set_once("1", 9), set_to("", 10)], "{}"),
    ([set_once("1", 9), set_to("", 10), set_once("2", 11)], "{}"),
    # null, with `once` earlier or at the same time, or without
    ([set_once("1", 9), set_to("null", 10)], '{"a":null}'),
    ([set_once("1", 10), set_to("null", 10)], '{"a":null}'),
    ([set_to("null", 10)], '{"a":null}'),
    ([set_to("", 10)], "{}"),
    ([set_to("", 9), set_once("1", 10)], '{"a":1}'),
    ([], "{}"),
]


def test_worked_examples_of_properties(client: Client) -> None:
    """Also when the facts are those of two distinct ids of a person."""
    several = 1000
    for place in range(3):
        for team, (facts, _) in enumerate(VALUES):
            if place < len(facts):
                insert(client, [facts[place]._replace(team=team), facts[place]._replace(team=several + team, id=f"u{place % 2}")])
    teams = range(len(VALUES))
    insert(client, [Fact(team, "u", FIRST_SEEN, 1) for team in teams])
    insert(
        client,
        [Fact(several + team, "u0", FIRST_SEEN, 1) for team in teams] + [Fact(several + team, "u1", FORCED, 1, "u0") for team in teams],
    )
    expected = {team: text for team, (_, text) in enumerate(VALUES)}
    assert properties(client) == expected | {several + team: text for team, text in expected.items()}


def sized(sizes: dict[str, int]) -> str:
    """Return an object whose members take as many bytes as told, with the comma."""
    members = {key: size - len(json.dumps(key, ensure_ascii=False).encode()) - 2 for key, size in sizes.items()}
    return "{" + ",".join(f'"{key}":"{"v" * (size - 2)}"' for key, size in sorted(members.items())) + "}"


# Sizes of members with their commas; those that are shown. An object takes one byte more than that.
SIZES: list[tuple[dict[str, int], str]] = [
    ({"b": 400_000, "c": MAX_PERSON_BYTES - 400_001}, "bc"),
    ({"b": 400_000, "c": MAX_PERSON_BYTES - 400_000}, "b"),
    ({"b": 400_000, "c": TRIMMED_PERSON_BYTES - 400_001, "d": 200_000}, "bc"),
    ({"b": 400_000, "c": TRIMMED_PERSON_BYTES - 400_000, "d": 200_000}, "b"),
    # what comes after the first that does not fit is not shown either
    ({"b": 300_000, "c": 300_000, "d": 100_000}, "b"),
    ({"b": 600_000, "c": 300_000}, ""),
    # é takes two bytes
    ({"é": 400_000, "ü": MAX_PERSON_BYTES - 400_001}, "éü"),
]


def test_what_is_too_much_is_cut(client: Client) -> None:
    facts = [Fact(team, "u", FIRST_SEEN, 1) for team in range(len(SIZES))]
    for team, (sizes, _) in enumerate(SIZES):
        facts += [Fact(team, "u", SET, 1, key, json.dumps(value)) for key, value in json.loads(sized(sizes)).items()]
    insert(client, facts)
    shown = properties(client)
    for team, (sizes, kept) in enumerate(SIZES):
        assert shown[team] == (sized({key: sizes[key] for key in kept}) if kept else "{}"), team


def test_cut_properties_come_back_when_others_are_unset(client: Client) -> None:
    insert(client, [Fact(1, "u", FIRST_SEEN, 1), *(Fact(1, "u", SET, 1, key, f'"{"v" * 300_000}"') for key in "abc")])
    assert list(json.loads(properties(client)[1])) == ["a"]
    insert(client, [Fact(1, "u", SET, 2, "a")])
    assert list(json.loads(properties(client)[1])) == ["b", "c"]


def test_protected_properties_are_cut_last(client: Client) -> None:
    """With half a megabyte of keys that sort before them, and after."""
    others = [*("!" + str(one) for one in range(400)), *("~" + str(one) for one in range(400)), "$initial_email", "initial_utm_source"]
    insert(client, [Fact(1, "u", FIRST_SEEN, 1), *(Fact(1, "u", SET, 1, key, f'"{"v" * 2_000}"') for key in [*PROTECTED, *others])])
    text = properties(client)[1]
    shown = list(json.loads(text))
    assert shown == sorted(shown)
    assert set(shown) >= PROTECTED
    left = set(shown) - PROTECTED
    assert left == set(sorted(others)[: len(left)])
    assert TRIMMED_PERSON_BYTES - 2_100 < len(text) <= TRIMMED_PERSON_BYTES


KEYS = [
    *map(chr, range(33)),
    *(
        '"',
        "\\",
        "/",
        "\\/",
        '\\"',
        "\x7f",
        "\x80",
        "\x85",
        "\u2028",
        "\u2029",
        "\ufeff",
        "é",
        "日本",
        "😀",
        "<a href='&'>",
        "a\nb\tc\x00d",
        "",
        "\\u0041",
    ),
]


def test_keys_are_encoded_as_python_does(client: Client) -> None:
    insert(client, [Fact(1, "u", FIRST_SEEN, 1), *(Fact(1, "u", SET, 1, key, "{}") for key in KEYS)])
    members = [f"{json.dumps(key, ensure_ascii=False)}:{{}}" for key in sorted(KEYS)]
    assert properties(client)[1] == "{" + ",".join(members) + "}"
    insert_groups(client, [(1, "t", "g", SET, key, 1, "{}") for key in KEYS])
    assert client.rows("SELECT group_properties FROM groups") == [("{" + ",".join(members) + "}",)]


def test_a_person_that_was_never_seen_is_not_shown(client: Client) -> None:
    """But its distinct ids are. `created` repeats `first_seen` of others, and counts nowhere."""
    facts = [Fact(1, "a", SET, 1, "k", "1"), Fact(2, "a", IDENTIFIED, 1), Fact(3, "a", FORCED, 1, "b"), Fact(4, "a", CREATED, 1)]
    insert(client, facts)
    assert persons(client) == []
    assert [row[:2] for row in distinct_ids(client)] == [(1, "a"), (2, "a"), (3, "a"), (3, "b")]


def test_a_fact_under_two_persons_is_one(client: Client) -> None:
    facts = [Fact(1, "a", FIRST_SEEN, 5), Fact(1, "a", SET, 5, "k", "1"), Fact(1, "a", LINK, 5, "", "u"), Fact(1, "a", LINK, 6, "", "late")]
    insert(client, facts)
    insert(client, [fact._replace(person=ONES) for fact in facts])
    person = uuid5(NAMESPACE, "1:u")
    assert distinct_ids(client) == [(1, "a", person), (1, "u", person)]
    assert persons(client) == [(1, person, EPOCH + timedelta(microseconds=5), True, '{"k":1}')]


def numbered(count: int, order: str) -> list[str]:
    names = [f"n{one:05}" for one in range(count)]
    if order == "mixed":
        random.Random(3).shuffle(names)
    return names[::-1] if order == "down" else names


def test_chains_and_a_cycle_of_thousands_are_one_person_each(client: Client) -> None:
    """Whatever the order of the names along the chain."""
    chains = {team: numbered(5000, order) for team, order in enumerate(("up", "down", "mixed", "cycle"))}
    facts = [Fact(team, one, FORCED, 1, other) for team, names in chains.items() for one, other in itertools.pairwise(names)]
    insert(client, [*facts, Fact(3, "n04999", FORCED, 1, "n00000"), *(Fact(team, "n02500", FIRST_SEEN, 1) for team in chains)])
    ends = [*[uuid5(NAMESPACE, f"{team}:{names[-1]}") for team, names in chains.items()][:3], uuid5(NAMESPACE, "3:n00000")]
    counted = client.rows("SELECT team_id, person_id, count() FROM person_distinct_ids GROUP BY ALL ORDER BY ALL")
    assert counted == [(team, person, 5000) for team, person in enumerate(ends)]
    assert [row[:2] for row in persons(client)] == list(enumerate(ends))


def test_a_hundred_thousand_ids_are_merged_into_one(client: Client) -> None:
    """Once as leaves, which are attached; once with a second target each."""
    ids = [f"anonymous-{one}" for one in range(100_000)]
    insert(client, [Fact(1, one, LINK, 1, "", "user") for one in ids] + [Fact(1, "user", FIRST_SEEN, 1)])
    one_person = [(uuid5(NAMESPACE, "1:user"), 100_001)]
    assert client.rows("SELECT person_id, count() FROM person_distinct_ids GROUP BY ALL") == one_person
    assert [row[1] for row in persons(client)] == [one_person[0][0]]
    insert(client, [Fact(1, one, FORCED, 1, "zzz") for one in ids])
    assert client.rows("SELECT person_id, count() FROM person_distinct_ids GROUP BY ALL") == [(one_person[0][0], 100_002)]


def insert_groups(client: Client, facts: list[tuple[int, str, str, int, str, int, str]]) -> None:
    """Insert (team, type, group, kind, property, time, value)."""
    teams, types, names, kinds, keys, times, values = zip(*facts, strict=True)
    columns = {
        "team_id": pa.array(teams, pa.int64()),
        "group_type": pa.array(types, pa.string()),
        "group_key": pa.array(names, pa.string()),
        "kind": pa.array(kinds, pa.int8()),
        "key": pa.array(keys, pa.string()),
        "order": pa.array([at if kind == SET else -at for kind, at in zip(kinds, times, strict=True)], pa.int64()),
        "uuid": pa.array([ZEROS] * len(facts), pa.binary(16)),
        "value": pa.array([value.encode() for value in values], pa.binary()),
    }
    client.insert("group_properties", pa.table(columns))


def test_groups(client: Client) -> None:
    facts = [
        (1, "company", "5", FIRST_SEEN, "", 10, ""),
        (1, "company", "5", FIRST_SEEN, "", 9, ""),
        (1, "company", "5", SET, "b", 10, '"new"'),
        (1, "company", "5", SET, "b", 9, '"old"'),
        (1, "company", "5", SET, "B", 9, "null"),
        (1, "company", "5", SET, "gone", 9, "1"),
        (1, "company", "5", SET, "gone", 10, ""),
        (1, "project", "5", SET, "a", 9, "[1]"),
        (2, "company", "5", FIRST_SEEN, "", 3, ""),
    ]
    for one in facts:
        insert_groups(client, [one])
    rows = client.rows("SELECT team_id, group_type, group_key, created_at, group_properties FROM groups ORDER BY ALL")
    assert rows == [
        (1, "company", "5", EPOCH + timedelta(microseconds=9), '{"B":null,"b":"new"}'),
        (1, "project", "5", EPOCH, '{"a":[1]}'),
        (2, "company", "5", EPOCH + timedelta(microseconds=3), "{}"),
    ]


def test_events_have_the_person_of_now(client: Client) -> None:
    insert(
        client,
        [Fact(1, "a", LINK, 1, "", "u"), Fact(1, "u", FORCED, 2, "v"), Fact(1, "seen", FIRST_SEEN, 1), Fact(1, "moved", LINK, 5, "", "x")],
    )
    insert(client, [Fact(1, "moved", IDENTIFIED, 1)])
    own = UUID(int=7)
    for number, (name, team) in enumerate([("a", 1), ("v", 1), ("seen", 1), ("moved", 1), ("nobody", 1), ("a", 2), ("a", 1)]):
        # the last is a duplicate of the first
        client.command(
            "INSERT INTO events (uuid, event, team_id, distinct_id, timestamp, person_mode, person_id,"
            " person_properties, person_created_at, `$group_1`, _offset)"
            f" SELECT toUUID('{UUID(int=number % 6)}'), 'e{number}', {team}, '{name}', toDateTime64({number}, 6), 'propertyless',"
            f" toUUID('{own}'), '{{\"k\":{number}}}', toDateTime64(1000 + {number}, 6), 'g', {number}"
        )
    rows = client.rows(
        "SELECT event, distinct_id, person_id, person_properties, person_created_at, person_mode, `$group_1` FROM events_resolved"
    )
    of_now = [("a", "1:v"), ("v", "1:v"), ("seen", "1:seen"), ("moved", "1:moved"), ("nobody", ""), ("a", "")]
    assert sorted(rows) == [
        (
            f"e{number}",
            name,
            uuid5(NAMESPACE, text) if text else own,
            f'{{"k":{number}}}',
            EPOCH + timedelta(seconds=1000 + number),
            "propertyless",
            "g",
        )
        for number, (name, text) in enumerate(of_now)
    ]


def test_views_of_events_have_its_columns(client: Client) -> None:
    def columns(table: str) -> list[tuple[str, str]]:
        return [row[:2] for row in client.rows(f"DESCRIBE TABLE {table}") if row[2] not in ("ALIAS", "MATERIALIZED")]

    assert columns("events_resolved") == columns("events_unique") == columns("events")
    assert "person_id" in dict(columns("events"))


def test_views_have_the_columns_of_the_specification(client: Client) -> None:
    types = {name: dict(row[:2] for row in client.rows(f"DESCRIBE TABLE {name}")) for name in ("person_distinct_ids", "persons", "groups")}
    at = "DateTime64(6, 'UTC')"
    assert types == {
        "person_distinct_ids": {"team_id": "Int64", "distinct_id": "String", "person_id": "UUID"},
        "persons": {"team_id": "Int64", "id": "UUID", "created_at": at, "is_identified": "Bool", "properties": "String"},
        "groups": {"team_id": "Int64", "group_type": "String", "group_key": "String", "created_at": at, "group_properties": "String"},
    }
