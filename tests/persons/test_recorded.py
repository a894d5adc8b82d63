"""What real client libraries sent: the persons and groups that their users expect."""

import json
from typing import Any

import pytest

from schemas.persons import person_id
from tests.persons.jobs import Job
from tests.transforms.parse.helpers import REGISTRY
from tests.transforms.parse.test_requests import RECORDED, body_of
from transforms.io.clickhouse import Client

ARRIVAL = 1_795_500_000_000_000  # a day after they were recorded
TEAM = REGISTRY.by_token["phc_test"]


class Found:
    """What the tables show after some requests."""

    def __init__(self, client: Client, *names: str) -> None:
        job = Job(client.where, REGISTRY)
        batches = [batch for name in names for batch in job.run([body_of(RECORDED / f"{name}.raw")], arrival=ARRIVAL)]
        self.events = [event for batch in batches for event in batch.events]
        self.warnings = [warning.type for warning in job.warnings]
        rows = client.rows(f"SELECT id, is_identified, properties FROM persons WHERE team_id = {TEAM}")
        self.persons = {person.bytes: (identified, json.loads(properties)) for person, identified, properties in rows}
        ids = client.rows(f"SELECT person_id, groupArray(distinct_id) FROM person_distinct_ids WHERE team_id = {TEAM} GROUP BY 1")
        self.ids = {person.bytes: sorted(names) for person, names in ids}
        self.groups = client.rows(f"SELECT group_type, group_key, group_properties FROM groups WHERE team_id = {TEAM}")

    def of(self, name: str) -> dict[str, Any]:
        """Return the properties of a person who is identified."""
        is_identified, properties = self.persons[person_id(TEAM, name)]
        assert is_identified
        return properties


def test_a_browser_identifies_its_visitor(client: Client) -> None:
    anonymous = "01a2050c-f114-7ca5-a5b9-24d05569e95e"
    found = Found(client, "js-02", "js-05")
    assert found.ids == {person_id(TEAM, "u1"): sorted([anonymous, "u1"])}
    properties = found.of("u1")
    assert properties["email"] == "a@b.c"
    assert properties["$initial_current_url"] == properties["$current_url"]
    assert [event.person_id for event in found.events] == [person_id(TEAM, "u1")] * 2
    assert found.warnings == []


@pytest.mark.parametrize("name", ["js-02", "node-capture-01", "py-capture-01"])
def test_a_client_tells_which_group_its_user_is_of(client: Client, name: str) -> None:
    (event,) = Found(client, name).events
    assert event.groups[1] == "acme", "a company"


def test_node_identifies(client: Client) -> None:
    found = Found(client, "node-identify-01")
    assert found.ids == {person_id(TEAM, "u1"): ["u1"]}
    assert {name: found.of("u1")[name] for name in ("email", "first")} == {"email": "a@b.c", "first": "x"}


def test_node_aliases(client: Client) -> None:
    """`alias({distinctId: "u1", alias: "anon1"})`: anon1 is another name of u1."""
    found = Found(client, "node-alias-01")
    assert found.ids == {person_id(TEAM, "u1"): ["anon1", "u1"]}
    assert found.of("u1").keys() <= {"$app_version"}


def test_node_tells_a_group(client: Client) -> None:
    found = Found(client, "node-group-01")
    ((kind, key, properties),) = found.groups
    assert (kind, key, json.loads(properties)["name"]) == ("company", "acme", "Acme")


def test_python_aliases(client: Client) -> None:
    """`alias(previous_id="anon1", distinct_id="u1")` sends u1 as the alias: both are one person, by the name of anon1."""
    found = Found(client, "py-alias-01")
    assert found.ids == {person_id(TEAM, "anon1"): ["anon1", "u1"]}
    assert list(found.persons) == [person_id(TEAM, "anon1")]
    assert found.warnings == []


def test_python_sets(client: Client) -> None:
    found = Found(client, "py-identify-set-01")
    ((is_identified, properties),) = found.persons.values()
    assert (is_identified, properties["email"]) == (False, "a@b.c")


def test_python_tells_a_group(client: Client) -> None:
    found = Found(client, "py-group-01")
    ((kind, key, properties),) = found.groups
    assert (kind, key, json.loads(properties)) == ("company", "acme", {"name": "Acme"})


def test_a_retried_request_changes_nothing(client: Client) -> None:
    names = [path.stem for path in sorted(RECORDED.glob("*.raw"))]
    once = Found(client, *names)
    twice = Found(client, *names, *names)
    assert (once.persons, once.ids, once.groups) == (twice.persons, twice.ids, twice.groups)
    assert len(once.persons) > 3
