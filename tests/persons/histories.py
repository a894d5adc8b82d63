"""Random histories: merges, sets, once, unset, personless, late and skewed events of a few distinct ids; and groups."""

import json
import random
from datetime import timedelta
from typing import Any
from uuid import UUID

from tests.persons.model import EPOCH, HOUR, Told

START = 1_795_003_200_000_000
MINUTE = HOUR // 60

NAMES = ["ann", "bob", "cid", "Bob", "é", "日本", "😀", "id-7", "nan", "x" * 250, "x" * 250 + "y", "anonymous"]
BAD_SOURCES: list[Any] = [None, "", " ", "guest", "'null'", '"ID"', "NaN", 23, True, ["ann"], {"a": 1}, "z" * 401, "a\0b"]
KEYS = ["plan", "email", "", "a.b", "utm_source", "$initial_utm_source", "$browser", "naïve", 'q"', "\n"]
VALUES: list[Any] = [1, "1", True, None, 1.5, [1, 2], {"b": [None]}, "ü", "", -0.0, 10**17]
COPIED: list[tuple[str, Any]] = [("utm_source", "ads"), ("utm_source", "mail"), ("$app_version", 3), ("$browser", "Fox"), ("gclid", None)]


def history(rng: random.Random) -> list[Told]:
    """Return the events of a team, in no order."""
    names = rng.sample(NAMES, rng.randint(2, 6))
    events = rng.choice(
        [
            ["pageview", "$identify", "$identify", "$create_alias", "$merge_dangerously", "$set", "$groupidentify", "$exception"],
            ["$identify", "$create_alias", "$merge_dangerously"],
            ["$set", "pageview"],
            ["$identify", "pageview", "pageview"],
        ]
    )
    return [_event(rng, rng.choice(events), names) for _ in range(rng.randint(1, 14))]


def _event(rng: random.Random, event: str, names: list[str]) -> Told:
    properties: dict[str, Any] = dict(rng.sample(COPIED, rng.choice([0, 0, 1, 2])))
    chance = 1.0 if event == "$set" else 0.2
    for name in ("$set", "$set_once"):
        if rng.random() < chance * 0.6:
            many = rng.choice([0, 1, 1, 2, 3])
            properties[name] = (
                {rng.choice(KEYS): rng.choice(VALUES) for _ in range(many)} if rng.random() < 0.95 else rng.choice(["x", [], 1])
            )
    if rng.random() < chance * 0.4:
        unset = rng.sample(KEYS, rng.choice([0, 1, 2]))
        properties["$unset"] = rng.choice([unset, dict.fromkeys(unset, 1), [*unset, 7, None], "plan", None])
    if event in ("$identify", "$create_alias", "$merge_dangerously"):
        source = rng.choice(names) if rng.random() < 0.85 else rng.choice(BAD_SOURCES)
        properties["$anon_distinct_id" if event == "$identify" else "alias"] = source
    elif rng.random() < 0.1:
        properties["$process_person_profile"] = rng.choice([False, "false", True])
    if event == "$groupidentify":
        properties["$group_type"] = rng.choice(["company", "company", "team", "", None, ["x"]])
        properties["$group_key"] = rng.choice(["acme", "acme", 5, 1.5, True, "k" * 401])
        properties["$group_set"] = rng.choice([{rng.choice(KEYS): rng.choice(VALUES)}, {}, None, "x"])
    time = START + rng.randint(0, 12) * 20 * MINUTE  # often the same as another's
    delay = rng.choice([0, 0, 0, MINUTE, -HOUR, -10 * HOUR, 72 * HOUR])
    return Told(UUID(int=rng.getrandbits(128) | 1), event, rng.choice(names), properties, time, time + delay)


def message(token: str, told: Told) -> bytes:
    """Return an event as a captured message. Clients put `$set` and the like into the properties, or beside them."""
    properties = dict(told.properties)
    data: dict[str, Any] = {"event": told.event, "properties": properties, "timestamp": _iso(told.timestamp)}
    if told.uuid.int & 2:
        data |= {name: properties.pop(name) for name in ("$set", "$set_once", "$unset") if name in properties}
    envelope = {"uuid": str(told.uuid), "distinct_id": told.distinct_id, "token": token, "now": _iso(told.arrival)}
    return json.dumps(envelope | {"data": json.dumps(data, ensure_ascii=False)}, ensure_ascii=False).encode()


def _iso(micros: int) -> str:
    return (EPOCH + timedelta(microseconds=micros)).isoformat()
