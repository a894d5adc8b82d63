"""What events say of their persons: what was known when they were processed, whatever happened to the worker in between."""

import json
import random
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from schemas.event import Batch, Event, PersonMode
from schemas.persons import person_id
from schemas.teams import Registry
from tests.persons.histories import START, history, message
from tests.persons.jobs import Job
from tests.persons.model import Told
from transforms.io.clickhouse import Client, close_all, shared
from transforms.io.migrate import migrate

REGISTRY = Registry(by_token={"phc_1": 1}, limits={})
SECOND = 1_000_000


class Story:
    """A job that is told one event a second, each in a bundle of its own."""

    def __init__(self, client: Client, shards: int = 16) -> None:
        self.job = Job(client.where, REGISTRY, shards)
        self._told = 0

    def tell(self, event: str, who: str, properties: dict[str, Any] | None = None, at: int | None = None) -> Event:
        """Tell of an event; return it as it is stored."""
        self._told += 1
        time = START + (self._told if at is None else at) * SECOND
        arrival = START + self._told * SECOND
        told = Told(UUID(int=self._told << 2), event, who, properties or {}, time, arrival)
        (found,) = events_of(self.job.run([message("phc_1", told)]))
        return found


def events_of(batches: list[Batch]) -> list[Event]:
    return [event for batch in batches for event in batch.events]


@pytest.fixture
def story(client: Client) -> Story:
    return Story(client)


def own(name: str) -> bytes:
    return person_id(1, name)


def test_an_id_that_stands_for_itself_has_its_own_person(story: Story) -> None:
    first = story.tell("e", "anon")
    assert (first.person_id, first.person_mode, first.person_properties) == (own("anon"), PersonMode.FULL, b"{}")
    assert first.person_created_at == START + SECOND
    story.tell("$set", "anon", {"$set": {"a": 1}})
    later = story.tell("e", "anon")
    assert (later.person_properties, later.person_created_at) == (b'{"a":1}', START + SECOND)


def test_an_event_has_what_it_sets_itself(story: Story) -> None:
    assert story.tell("$set", "anon", {"$set": {"a": 1}}).person_properties == b'{"a":1}'
    assert story.tell("$identify", "jane", {"$set": {"b": 2}}).person_properties == b'{"b":2}'


def test_with_one_shard_a_merge_event_has_what_its_source_was(client: Client) -> None:
    story = Story(client, shards=1)
    story.tell("$set", "anon", {"$set": {"a": 1}})
    assert story.tell("$identify", "jane", {"$anon_distinct_id": "anon", "$set": {"b": 2}}).person_properties == b'{"a":1,"b":2}'


@pytest.mark.parametrize("pair", [("anon", "jane"), ("a1", "u1"), ("a2", "u2"), ("a3", "u3"), ("a4", "u4"), ("a5", "u5")])
def test_a_merge_takes_what_the_source_was(story: Story, pair: tuple[str, str]) -> None:
    """Whatever shards the two are in."""
    source, target = pair
    before = story.tell("$set", source, {"$set": {"a": 1, "b": 1}})
    story.tell("$identify", target, {"$anon_distinct_id": source, "$set": {"b": 2}})
    for name in pair:
        after = story.tell("e", name)
        assert (before.person_id, after.person_id) == (own(source), own(target))
        assert (after.person_properties, after.person_created_at) == (b'{"a":1,"b":2}', START + SECOND)


def test_an_id_is_identified_and_keeps_what_it_was(story: Story) -> None:
    story.tell("$set", "jane", {"$set": {"a": 1}})
    story.tell("$identify", "jane")
    after = story.tell("e", "jane")
    assert (after.person_id, after.person_properties, after.person_created_at) == (own("jane"), b'{"a":1}', START + SECOND)


def test_a_refused_merge_leaves_both_alone(story: Story) -> None:
    story.tell("$identify", "anon", {"$set": {"a": 1}})
    story.tell("$identify", "jane", {"$anon_distinct_id": "anon"})
    assert story.tell("e", "anon").person_id == own("anon")
    assert story.tell("e", "jane").person_properties == b"{}"
    assert [warning.type for warning in story.job.warnings] == ["cannot_merge_already_identified"]


def test_a_forced_merge_of_an_identified_id_holds_and_its_properties_are_in_the_view_alone(client: Client, story: Story) -> None:
    """The worker of its properties is another than that of its merges (docs/persons.md)."""
    story.tell("$identify", "anon", {"$set": {"a": 1}})
    story.tell("$merge_dangerously", "jane", {"alias": "anon"})
    found = story.tell("$set", "anon", {"$set": {"b": 1}})
    assert (found.person_id, found.person_properties) == (own("jane"), b'{"b":1}')
    assert client.rows("SELECT properties FROM persons") == [('{"a":1,"b":1}',)]


def test_what_is_set_late_does_not_win(story: Story) -> None:
    story.tell("$set", "anon", {"$set": {"a": "new"}, "$set_once": {"b": "second"}})
    found = story.tell("$set", "anon", {"$set": {"a": "old"}, "$set_once": {"b": "first"}}, at=-100)
    assert json.loads(found.person_properties) == {"a": "new", "b": "first"}
    assert found.person_created_at == START - 100 * SECOND


def test_campaign_properties_of_an_earlier_event_of_the_hour_count(story: Story) -> None:
    story.tell("e", "anon", {"utm_source": "ads"}, at=-10)
    story.tell("e", "anon", {"utm_source": "ads"}, at=-30)
    story.tell("e", "anon", {"utm_source": "mail"}, at=-20)
    assert json.loads(story.tell("e", "anon").person_properties) == {"$initial_utm_source": "ads", "utm_source": "mail"}


@pytest.mark.parametrize("is_merged", [False, True])
def test_a_personless_event_of_a_known_person_is_upgraded(story: Story, is_merged: bool) -> None:
    alone = story.tell("e", "anon", {"$process_person_profile": False})
    assert (alone.person_mode, alone.person_id, alone.person_properties) == (PersonMode.PROPERTYLESS, own("anon"), b"{}")
    story.tell("$set", "anon", {"$set": {"a": 1}})
    if is_merged:
        story.tell("$identify", "jane", {"$anon_distinct_id": "anon"})
    found = story.tell("e", "anon", {"$process_person_profile": False})
    expected = (PersonMode.FORCE_UPGRADE, own("jane" if is_merged else "anon"), b'{"a":1}')
    assert (found.person_mode, found.person_id, found.person_properties) == expected


def test_a_source_forgets_what_it_has_handed_over(client: Client) -> None:
    story = Story(client, shards=1)
    story.tell("$set", "anon", {"$set": {"a": 1}})
    story.tell("$identify", "jane", {"$anon_distinct_id": "anon"})
    _, step = story.job._steps[0]  # what the worker of distinct ids holds
    head = story.job.states[0][0]
    ids = step._shards.take(0, head.head, tuple(head.logs))  # type: ignore[attr-defined]
    assert ids.properties(int(ids.find(own("anon"))[0])) == b"{}"


def stamp(event: Event) -> tuple[Any, ...]:
    return event.uuid, event.person_id, event.person_properties, event.person_created_at, event.person_mode


@pytest.fixture(scope="module")
def undisturbed() -> dict[int, list[tuple[Any, ...]]]:
    """Return what the old worker stamped, by seed: it is the same for whatever happens to the new one."""
    return {}


@pytest.mark.parametrize("then", ["restart", "lose_state", "a new job"])
@pytest.mark.parametrize("seed", range(3))
def test_a_new_worker_stamps_as_the_old_one_would_have(
    undisturbed: dict[int, list[tuple[Any, ...]]], tmp_path: Path, seed: int, then: str
) -> None:
    """Event by event: within one bundle, what one shard tells another may come too late."""
    rng = random.Random(f"stamps-{seed}")
    told = sorted(((team, event) for team in range(1, 13) for event in history(rng)), key=lambda one: (one[1].arrival, one[1].uuid))
    registry = Registry(by_token={f"phc_{team}": team for team in range(1, 13)}, limits={})

    def stamps(disturbed: bool) -> list[tuple[Any, ...]]:
        sink = f"chdb:{tmp_path / str(disturbed)}"
        close_all()
        migrate(shared(sink))
        job, found = Job(sink, registry), []
        for team, event in told:
            found += events_of(job.run([message(f"phc_{team}", event)]))
            if disturbed and then == "a new job":
                job = Job(sink, registry, shards=rng.choice([1, 4, 16]))
            elif disturbed:
                getattr(job, then)()
        return sorted(map(stamp, found))

    if seed not in undisturbed:
        undisturbed[seed] = stamps(False)
    assert stamps(True) == undisturbed[seed]
