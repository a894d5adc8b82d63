"""What must become of a load, told from its files alone: the rules written down a second time, plainly and slowly."""

import base64
import gzip
import json
import re
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import fastavro
import pyarrow.parquet as pq
import zstandard

OBJECTS = re.compile(rb'((?:\{"a":){50,})1(\}+)')
ARRAYS = re.compile(rb"\[{50,}1\]+")
NO_TEAM = 0


@dataclass
class Seen:
    """One event as it was read; `problem` is a reason if it is rejected."""

    team: int
    problem: str | None = None
    uuid: str | None = None
    token: str | None = None
    distinct_id: str | None = None
    hour: int = 0
    event: dict[str, Any] = field(default_factory=dict)
    raw: bytes = b""
    now: str = ""


def messages(folder: Path) -> list[tuple[bytes, str]]:
    """Return (body, now) of each message of the folder, in order."""
    return [message for path in sorted(folder.glob("events-*")) for message in _read(path)]


def _read(path: Path) -> list[tuple[bytes, str]]:
    data = path.read_bytes()
    if path.suffix == ".avro":
        with path.open("rb") as file:
            return [(record["body"], record.get("now", "")) for record in fastavro.reader(file)]
    if path.suffix == ".parquet":
        return [(record["body"], record.get("now", "")) for record in pq.read_table(path).to_pylist()]
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    assert data.endswith(b"\n")
    return [(line, "") for line in data[:-1].split(b"\n")]


class Reader:
    """Take messages apart."""

    def __init__(self, folder: Path, shape: str) -> None:
        teams = tomllib.loads((folder / "teams.toml").read_text())["teams"]
        self.shape = shape
        self.teams = {token: team["id"] for team in teams for token in team["tokens"]}
        self.limits = {team["id"]: team.get("limits", {}) for team in teams}

    def seen(self, folder: Path) -> list[Seen]:
        take = getattr(self, "_" + self.shape)
        found = []
        for body, now in messages(folder):
            try:
                found.extend(take(body, now))
            except (ValueError, EOFError, OSError):
                found.append(Seen(NO_TEAM, "malformed_body"))
        return found

    def _event(self, body: bytes, now: str) -> list[Seen]:
        return [self._whole(body, None, now)]

    def _captured(self, body: bytes, _: str) -> list[Seen]:
        if len(body) > 1_000_000:
            return [Seen(NO_TEAM, "message_size_too_large")]
        envelope = json.loads(body.decode())
        if not isinstance(envelope, dict):
            raise ValueError("not an object")
        seen = self._whole(envelope["data"].encode(), envelope.get("token", ""), envelope["now"])
        if seen.problem is None:
            assert envelope.get("uuid") == seen.uuid
            assert str(envelope["distinct_id"]) == seen.distinct_id
        for name in ("uuid", "distinct_id"):
            if seen.problem and name in seen.problem:
                assert envelope.get(name) == seen.event.get(name), "a good value is left in the envelope"
        return [seen]

    def _batch(self, body: bytes, now: str) -> list[Seen]:
        value = _value(body)
        if isinstance(value, list):
            return [self._judged(event, None, now) for event in value]
        if "batch" not in value:
            return [self._judged(value, None, now)]
        return [self._judged(event, value.get("api_key", ""), now) for event in value["batch"]]

    def _http(self, body: bytes, now: str) -> list[Seen]:
        if body.startswith(b"\x1f\x8b"):
            body = gzip.decompress(body)
        if body.startswith(b"data="):
            body = base64.b64decode(parse_qs(body.decode())["data"][0], validate=True)
        if len(body) > 20_000_000:
            return [Seen(NO_TEAM, "body_too_large")]
        return self._batch(body, now)

    def _whole(self, raw: bytes, token: Any, now: str) -> Seen:
        """Return the one event of a message, which is refused unread if it is too large."""
        if len(raw) > 1_000_000:
            return Seen(NO_TEAM, "message_size_too_large")
        seen = self._judged(_value(raw), token, now)
        seen.raw = raw
        return seen

    def _judged(self, event: Any, token: Any, now: str) -> Seen:
        """Return one event; `token` is the message's, None if it is the event's own."""
        if not isinstance(event, dict):
            raise ValueError("not an object")
        properties = event.get("properties")
        if token is None:
            token = event.get("token", properties.get("token", "") if isinstance(properties, dict) else "")
        seen = Seen(NO_TEAM, token=token, event=event, now=now, hour=_hour(now))
        seen.problem = _token_problem(token) or (None if token in self.teams else "unknown_token")
        seen.team = self.teams.get(token, NO_TEAM)
        if seen.problem and isinstance(properties, dict):
            assert properties.get("token") not in self.teams, "a good token is left in another place"
        seen.problem = seen.problem or _event_problem(event, seen)
        seen.uuid = None if _uuid_problem(event) else _canonical(event)
        return seen

    def outcome(self, seen: Seen) -> tuple[str | None, str | None]:
        """Return what becomes of an event, but for duplicates; (None, ...) if a quota decides."""
        limits = self.limits.get(seen.team, {})
        if seen.problem:
            return "rejected", seen.problem
        if seen.token in limits.get("drop_tokens", ()):
            return "limited", "drop_tokens"
        if seen.distinct_id in limits.get("drop_distinct_ids", ()):
            return "limited", "drop_distinct_ids"
        if "events_per_hour" in limits:
            return None, "events_per_hour"
        return "stored", None

    def recount(self, seen: list[Seen]) -> dict[int, dict[str, Any]]:
        """Return the counts by team, if events arrive in this order."""
        outcomes: Counter[tuple[int, str, str | None]] = Counter()
        hours: Counter[tuple[int, int]] = Counter()
        stored: set[tuple[int, str]] = set()
        for each in seen:
            outcome, reason = self.outcome(each)
            if outcome is None:
                hours[each.team, each.hour] += 1
                over = hours[each.team, each.hour] > self.limits[each.team]["events_per_hour"]
                outcome, reason = ("limited", reason) if over else ("stored", None)
            if outcome == "stored" and each.uuid is not None:
                outcome = "duplicate" if (each.team, each.uuid) in stored else "stored"
                stored.add((each.team, each.uuid))
            outcomes[each.team, outcome, reason] += 1
        return _by_team(outcomes)


def _by_team(outcomes: Counter[tuple[int, str, str | None]]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for (team, outcome, reason), count in outcomes.items():
        counts = found.setdefault(team, {"stored": 0, "duplicate": 0, "limited": {}, "rejected": {}})
        if reason is None:
            counts[outcome] = count
        else:
            counts[outcome][reason] = count
    return found


def _value(text: bytes) -> Any:
    """Return a JSON value, with a text in place of what is too deep for the json module."""
    text = ARRAYS.sub(b'"too deep"', text)
    text = OBJECTS.sub(lambda nest: b'"too deep"' + nest[2][nest[1].count(b"{") :], text)
    value = json.loads(text.decode())
    if not isinstance(value, dict | list):
        raise ValueError("not an object")
    return value


def _token_problem(token: Any) -> str | None:
    if not token.strip():
        return "missing_token"
    if token.startswith("phx_") or not token.isascii() or len(token) > 64:
        return "invalid_token"
    return None


def _event_problem(event: dict[str, Any], seen: Seen) -> str | None:
    name, properties = event.get("event", ""), event.get("properties")
    if isinstance(properties, dict) and len(properties.get("blob", "")) > 1_000_000:
        return "message_size_too_large"
    if not isinstance(name, str):
        return "schema_validation_failed"
    if not name:
        return "missing_event_name"
    if not isinstance(properties, dict) or properties.get("nested") == "too deep":
        return "malformed_event_properties"
    return _distinct_id_problem(event, properties, seen) or _uuid_problem(event) or _merge_problem(event, properties)


def _merge_problem(event: dict[str, Any], properties: dict[str, Any]) -> str | None:
    is_merge = event["event"] in ("$identify", "$create_alias", "$merge_dangerously")
    return "invalid_event_when_process_person_profile_is_false" if is_merge and properties.get("$process_person_profile") is False else None


def _distinct_id_problem(event: dict[str, Any], properties: dict[str, Any], seen: Seen) -> str | None:
    value = event.get("distinct_id", properties.get("distinct_id"))
    if value is None or not str(value).strip():
        return "missing_distinct_id"
    seen.distinct_id = str(value)
    return "distinct_id_too_large" if len(str(value)) > 400 else None


def _uuid_problem(event: dict[str, Any]) -> str | None:
    try:
        uuid = _canonical(event)
    except ValueError:
        return "invalid_event_uuid"
    return "invalid_event_uuid" if uuid == str(UUID(int=0)) else None


def _canonical(event: dict[str, Any]) -> str | None:
    return str(UUID(event["uuid"])) if event.get("uuid") else None


def _hour(now: str) -> int:
    return int(datetime.fromisoformat(now).timestamp()) // 3600 if now else 0
