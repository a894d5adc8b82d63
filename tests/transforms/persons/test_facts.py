"""What an event says of persons and groups: PostHog's vectors, and every rule of docs/persons.md."""

import json
from typing import Any
from uuid import UUID, uuid5

import pytest

from schemas.event import Event, PersonMode
from schemas.persons import COPIED, Fact, Kind, initial, person_id
from tests.transforms.parse.helpers import NOW, event_of, letter_of, message, warnings_of
from transforms.persons.facts import copied_facts, is_mergeable

NAMESPACE = UUID("932979b4-65c3-4424-8467-0b66ec27bc22")
HOUR = 3_600_000_000
MERGES = [("$identify", "$anon_distinct_id"), ("$create_alias", "alias"), ("$merge_dangerously", "alias")]
NAMES = ["anonymous", "guest", "distinctid", "distinct_id", "id", "not_authenticated", "email", "undefined", "true", "false"]
AS_WRITTEN = ["[object Object]", "NaN", "None", "none", "null", "0", "undefined"]


def told(event: str, properties: dict[str, Any], **fields: Any) -> Event:
    return event_of(message(event=event, **{"distinct_id": "jane", **fields}, properties=properties))


def said(event: Event, *kinds: Kind) -> list[tuple[str, str, str, bytes]]:
    """Return (distinct id, kind, key, value) of an event's facts."""
    return [(fact.distinct_id, Kind(fact.kind).name, fact.key, fact.value) for fact in event.facts if not kinds or Kind(fact.kind) in kinds]


def values(event: Event, kind: Kind) -> dict[str, Any]:
    return {fact.key: json.loads(fact.value) if fact.value else "unset" for fact in event.facts if fact.kind == kind}


@pytest.mark.parametrize(
    ("team", "name", "expected"),
    [
        (1, "test", "246f7a43-5507-564f-b687-793ee3c2dd79"),
        (2, "test", "00ce873a-549c-548e-bbec-cc804a385dd8"),
        (1, "test2", "45c17302-ee44-5596-916a-0eba21f4b638"),
    ],
)
def test_person_ids_are_the_incumbents(team: int, name: str, expected: str) -> None:
    assert UUID(bytes=person_id(team, name)) == UUID(expected) == uuid5(NAMESPACE, f"{team}:{name}")


@pytest.mark.parametrize("event", ["$identify", "$create_alias"])
def test_a_safe_merge_links_the_source_to_the_target(event: str) -> None:
    found = told(event, {dict(MERGES)[event]: "anon"})
    assert sorted(said(found)) == [("anon", "LINK", "", b"jane"), ("jane", "IDENTIFIED", "", b"")]
    link = next(fact for fact in found.facts if fact.kind == Kind.LINK)
    assert link == Fact(1, "anon", Kind.LINK, "", -NOW, found.uuid, b"jane", person_id(1, "anon"))


def test_a_forced_merge_keeps_each_target() -> None:
    found = told("$merge_dangerously", {"alias": "anon"})
    assert sorted(said(found)) == [("anon", "FORCED", "jane", b""), ("jane", "IDENTIFIED", "", b"")]


@pytest.mark.parametrize(("event", "field"), MERGES)
@pytest.mark.parametrize("absent", [True, False])
def test_without_a_source_there_is_no_merge(event: str, field: str, absent: bool) -> None:
    found = told(event, {} if absent else {field: None})
    assert said(found) == ([("jane", "IDENTIFIED", "", b"")] if event == "$identify" else [])


@pytest.mark.parametrize(("event", "field"), MERGES)
def test_a_merge_of_an_id_with_itself_is_none(event: str, field: str) -> None:
    payload = message(event=event, distinct_id="jane", properties={field: "jane"})
    assert said(event_of(payload)) == ([("jane", "IDENTIFIED", "", b"")] if event == "$identify" else [])
    assert warnings_of(payload) == []


def test_ids_that_are_equal_once_they_are_cut_are_no_merge() -> None:
    found = told("$create_alias", {"alias": "x" * 250}, distinct_id="x" * 300)
    assert said(found) == []


def test_a_long_source_is_cut_like_a_distinct_id() -> None:
    assert said(told("$create_alias", {"alias": "€" * 400}), Kind.LINK) == [("€" * 200, "LINK", "", b"jane")]


@pytest.mark.parametrize("quote", ["", "'", '"'])
@pytest.mark.parametrize("name", [*NAMES, *[name.upper() for name in NAMES], *AS_WRITTEN, "", " ", "\t"])
def test_ids_that_cannot_be_merged(name: str, quote: str) -> None:
    assert not is_mergeable(f"{quote}{name}{quote}")


@pytest.mark.parametrize("name", ["nan", "NONE", "Null", "[object object]", "00", "'", '"id', "'id\"", "anonymous1", "x" * 400])
def test_ids_that_can_be_merged(name: str) -> None:
    assert is_mergeable(name)


@pytest.mark.parametrize("name", ["x" * 401, "a\ufffdb"])
def test_ids_too_long_or_with_a_nul_cannot_be_merged(name: str) -> None:
    assert not is_mergeable(name)


@pytest.mark.parametrize(("event", "field"), MERGES)
@pytest.mark.parametrize("source", ["", " ", "guest", "'NULL'".lower(), '"ID"', "NaN", "z" * 401, "a\0b"])
def test_an_illegal_source_keeps_the_event_and_warns(event: str, field: str, source: str) -> None:
    payload = message(event=event, distinct_id="jane", properties={field: source, "$set": {"a": 1}})
    found = event_of(payload)
    assert said(found, Kind.LINK, Kind.FORCED) == []
    assert values(found, Kind.SET) == {"a": 1}
    assert warnings_of(payload) == [(1, "cannot_merge_with_illegal_distinct_id")]


@pytest.mark.parametrize(("event", "field"), MERGES)
def test_an_illegal_target_keeps_the_event_and_warns(event: str, field: str) -> None:
    payload = message(event=event, distinct_id="'guest'", properties={field: "anon"})
    assert said(event_of(payload)) == []
    assert warnings_of(payload) == [(1, "cannot_merge_with_illegal_distinct_id")]


@pytest.mark.parametrize("source", [23, 1.5, True, False, ["anon"], {"a": "anon"}, []])
@pytest.mark.parametrize(("event", "field"), MERGES)
def test_a_source_that_is_no_text_keeps_the_event_and_warns(event: str, field: str, source: Any) -> None:
    payload = message(event=event, distinct_id="jane", properties={field: source})
    assert said(event_of(payload), Kind.LINK, Kind.FORCED) == []
    assert warnings_of(payload) == [(1, "invalid_anon_distinct_id" if event == "$identify" else "invalid_alias")]


@pytest.mark.parametrize("place", ["beside", "in"])
def test_sets_count_beside_the_properties_and_in_them(place: str) -> None:
    sets = {"$set": {"a": 1}, "$set_once": {"b": "x"}, "$unset": ["c"]}
    found = told("e", {}, **sets) if place == "beside" else told("e", sets)
    assert values(found, Kind.SET) == {"a": 1, "c": "unset"}
    assert values(found, Kind.ONCE) == {"b": "x"}


def test_orders_are_times_and_earliest_ones_are_negated() -> None:
    found = told("$set", {"$set": {"a": 1}, "$set_once": {"b": 1}}, timestamp="2026-11-01T11:00:00Z")
    assert {fact.key: fact.order for fact in found.facts} == {"a": NOW - HOUR, "b": HOUR - NOW}


def test_a_clock_that_runs_ahead_does_not_win() -> None:
    found = told("$set", {"$set": {"a": 1}}, timestamp="2026-11-01T15:00:00Z")
    assert found.timestamp == NOW + 3 * HOUR
    assert found.facts[0].order == NOW


@pytest.mark.parametrize("unset", [["c", "d"], {"c": 1, "d": None}, ["c", 7, None, ["x"], "d"]])
def test_unset_names_keys_by_a_list_or_an_object(unset: Any) -> None:
    assert values(told("e", {"$unset": unset}), Kind.SET) == {"c": "unset", "d": "unset"}


def test_what_is_set_and_unset_at_once_is_set() -> None:
    assert values(told("e", {"$unset": ["a"], "$set": {"a": 1}}), Kind.SET) == {"a": 1}


def test_null_is_a_value_to_set_and_none_to_set_once() -> None:
    found = told("e", {"$set": {"a": None}, "$set_once": {"b": None}})
    assert (values(found, Kind.SET), values(found, Kind.ONCE)) == ({"a": None}, {})


def test_copied_properties_are_those_of_the_incumbent() -> None:
    assert len(COPIED) == 44
    assert [initial(name) for name in ("$os", "utm_source", "_kx")] == ["$initial_os", "$initial_utm_source", "$initial__kx"]


def test_a_writing_event_copies_all_44() -> None:
    found = told("$identify", {name: place for place, name in enumerate(COPIED)})
    assert values(found, Kind.SET) == {name: place for place, name in enumerate(COPIED)}
    assert values(found, Kind.ONCE) == {initial(name): place for place, name in enumerate(COPIED)}
    assert found.copied == ()


@pytest.mark.parametrize("event", ["$set", "$create_alias", "$merge_dangerously"])
def test_these_events_write_even_without_a_set(event: str) -> None:
    assert values(told(event, {"$browser": "Fox"}), Kind.SET) == {"$browser": "Fox"}


@pytest.mark.parametrize("writing", [{"$set": {"a": 1}}, {"$set_once": {"a": 1}}, {"$set_once": {"a": None}}, {"$unset": ["a"]}])
def test_any_event_writes_that_sets_something(writing: dict[str, Any]) -> None:
    assert values(told("e", {"$browser": "Fox", **writing}), Kind.SET)["$browser"] == "Fox"


@pytest.mark.parametrize("nothing", [{}, {"$set": {}}, {"$set_once": {}}, {"$unset": []}, {"$set": None}, {"$unset": [7]}])
def test_volatile_properties_alone_write_nothing(nothing: dict[str, Any]) -> None:
    found = told("e", {"$browser": "Fox", "$current_url": "/", "$screen_height": 9, **nothing})
    assert (found.facts, found.copied) == ((), ())


def test_campaign_and_app_properties_of_an_ordinary_event_go_by_the_hour() -> None:
    found = told("e", {"utm_source": "ads", "$app_version": 3, "gclid": None, "$browser": "Fox"}, timestamp="2026-11-01T11:40:00Z")
    assert found.facts == ()
    facts = copied_facts(found, person_id(1, "jane"))
    by_key = {(Kind(fact.kind).name, fact.key): (fact.order, fact.uuid, fact.value) for fact in facts}
    hour, time = NOW - HOUR, NOW - HOUR // 3
    assert by_key == {
        ("SET", "utm_source"): (hour, bytes(16), b'"ads"'),
        ("SET", "$app_version"): (hour, bytes(16), b"3"),
        ("ONCE", "$initial_utm_source"): (-time, found.uuid, b'"ads"'),
        ("ONCE", "$initial_app_version"): (-time, found.uuid, b"3"),
    }


def test_explicit_properties_go_before_copied_ones() -> None:
    found = told("$set", {"utm_source": "ads", "$set": {"utm_source": "mine"}, "$set_once": {"$initial_utm_source": "first"}})
    assert values(found, Kind.SET) == {"utm_source": "mine"}
    assert values(found, Kind.ONCE) == {"$initial_utm_source": "first"}


@pytest.mark.parametrize("event", ["$exception", "$$heatmap"])
def test_these_events_never_write(event: str) -> None:
    found = told(event, {"$set": {"a": 1}, "utm_source": "ads", "$app_version": 1})
    assert (found.facts, found.copied, found.person_mode) == ((), (), PersonMode.FULL)


def test_only_the_boolean_false_makes_an_event_personless() -> None:
    properties = {
        "$process_person_profile": False,
        "$set": {"a": 1},
        "$set_once": {"b": 1},
        "$unset": ["c"],
        "$groups": {"team": "x"},
        "k": 1,
    }
    found = told("e", properties)
    assert (found.person_mode, found.facts) == (PersonMode.PROPERTYLESS, ())
    assert json.loads(found.properties) == {"$process_person_profile": False, "k": 1}
    assert found.groups == ()


@pytest.mark.parametrize("value", ["false", 0, "", "true", 1, [], {}])
def test_anything_else_that_is_no_boolean_warns_and_counts_as_true(value: Any) -> None:
    payload = message(distinct_id="jane", properties={"$process_person_profile": value, "$set": {"a": 1}})
    assert event_of(payload).person_mode == PersonMode.FULL
    assert values(event_of(payload), Kind.SET) == {"a": 1}
    assert warnings_of(payload) == [(1, "invalid_process_person_profile")]


@pytest.mark.parametrize(("event", "field"), MERGES)
def test_a_merge_without_a_person_is_rejected(event: str, field: str) -> None:
    payload = message(event=event, distinct_id="jane", properties={field: "anon", "$process_person_profile": False})
    assert letter_of(payload).reason == "invalid_event_when_process_person_profile_is_false"
    assert warnings_of(payload) == [(1, "invalid_event_when_process_person_profile_is_false")]


def test_an_illegal_distinct_id_has_no_person() -> None:
    found = told("$set", {"$set": {"a": 1}}, distinct_id="Anonymous")
    assert (found.person_mode, found.facts) == (PersonMode.PROPERTYLESS, ())


def test_a_group_is_known_and_its_properties_are_set() -> None:
    found = told("$groupidentify", {"$group_type": "company", "$group_key": "acme", "$group_set": {"n": 1, "x": None}})
    rows = [(fact.group_type, fact.group_key, Kind(fact.kind).name, fact.key, fact.order, fact.value) for fact in found.group_facts]
    assert rows == [
        ("company", "acme", "FIRST_SEEN", "", -NOW, b""),
        ("company", "acme", "SET", "n", NOW, b"1"),
        ("company", "acme", "SET", "x", NOW, b"null"),
    ]


@pytest.mark.parametrize(("key", "text"), [("acme", "acme"), (5, "5"), (-1.5, "-1.5")])
def test_a_group_key_is_a_text_or_a_number(key: Any, text: str) -> None:
    found = told("$groupidentify", {"$group_type": "company", "$group_key": key})
    assert [fact.group_key for fact in found.group_facts] == [text]


@pytest.mark.parametrize("wrong", [None, "", True, ["a"], {"a": 1}])
@pytest.mark.parametrize("field", ["$group_type", "$group_key"])
def test_a_group_without_type_or_key_is_none(field: str, wrong: Any) -> None:
    assert told("$groupidentify", {"$group_type": "company", "$group_key": "acme", field: wrong}).group_facts == ()


def test_a_group_key_of_401_characters_drops_the_group_and_keeps_the_event() -> None:
    payload = message(event="$groupidentify", distinct_id="jane", properties={"$group_type": "company", "$group_key": "k" * 401})
    assert event_of(payload).group_facts == ()
    assert warnings_of(payload) == [(1, "group_key_too_long")]
    assert len(told("$groupidentify", {"$group_type": "company", "$group_key": "k" * 400}).group_facts) == 1


@pytest.mark.parametrize(
    ("groups", "columns"),
    [
        ({"company": "acme"}, ("", "acme", "", "", "")),
        ({"organization": 5, "instance": "x", "other": "y"}, ("5", "", "", "", "x")),
        ({"company": "k" * 500}, ("", "k" * 400, "", "", "")),
        ({"company": None, "team": True, "project": ["a"]}, ("", "", "", "", "")),
    ],
)
def test_groups_of_an_event_fill_its_columns(groups: dict[str, Any], columns: tuple[str, ...]) -> None:
    assert told("e", {"$groups": groups}).groups == columns


@pytest.mark.parametrize("groups", ["company", ["company"], None, 7])
def test_groups_that_are_no_object_fill_nothing(groups: Any) -> None:
    assert told("e", {"$groups": groups}).groups == ()
