"""What a campaign sends, and what must come of it: made and known here, by no code of the project.

Ids are of three kinds: sent once, sent again, and sent by two teams. Rubbish has a mark, which its dead letter has in its body. Of persons
it knows the simple part: an anonymous id that was identified is the user's, and of `$set` the latest stands.
"""

import gzip
import json
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

TOKENS = {1: "phc_first", 2: "phc_second", 3: "phc_third"}
LATE_TEAM, LATE_TOKEN = 4, "phc_late"  # not in the registry before the end
USERS = 40  # of a team
MARK = re.compile(rb"rubbish-\d+")
Id = tuple[int, str]
Json = dict[str, object]


class Oracle:
    """Make messages, in an order that the seed tells, and remember them."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._number = 0
        self._now = datetime.now(UTC) - timedelta(minutes=50)
        self._sent: list[tuple[bytes, list[Id]]] = []
        self._of_first = ""  # a uuid of team 1
        self.expected: set[Id] = set()
        self.late: set[Id] = set()
        self.rubbish: set[bytes] = set()
        self.duplicates = 0
        self.messages = 0
        self.merged: dict[tuple[int, str], str] = {}  # (team, anonymous id) -> user
        self.latest: dict[tuple[int, str], int] = {}  # (team, user) -> the number that was set last

    def write_teams(self, path: Path, late: bool) -> None:
        """Write the registry, with the team that is late or without it."""
        teams = TOKENS | ({LATE_TEAM: LATE_TOKEN} if late else {})
        text = "".join(f'[[teams]]\nid = {team}\ntokens = ["{token}"]\n' for team, token in teams.items())
        path.with_suffix(".new").write_text(text)
        path.with_suffix(".new").rename(path)

    def message(self) -> bytes:
        """Return the next message."""
        self.messages += 1
        if self._sent and self._rng.random() < 0.06:
            payload, ids = self._rng.choice(self._sent[-2000:])
            self.duplicates += len(ids)
            return payload
        if self._rng.random() < 0.01:
            return self._no_message()
        team = self._rng.choice([1, 1, 1, 2, 2, 3]) if self._rng.random() < 0.99 else LATE_TEAM
        events = [self._event(team) for _ in range(1 if self._rng.random() < 0.85 else self._rng.randint(2, 12))]
        token = TOKENS.get(team, LATE_TOKEN)
        body = {"api_key": token, **events[0]} if len(events) == 1 else {"api_key": token, "batch": events}
        payload = json.dumps(body).encode()
        if self._rng.random() < 0.2:
            payload = gzip.compress(payload)
        self._sent.append((payload, [(team, str(event["uuid"])) for event in events if _is_good(event)]))
        return payload

    def lines(self, count: int) -> Iterator[bytes]:
        """Yield the lines of a file."""
        for _ in range(count):
            payload = self.message()
            yield (gzip.decompress(payload) if payload.startswith(b"\x1f\x8b") else payload) + b"\n"

    def _event(self, team: int) -> Json:
        self._number += 1
        self._now += timedelta(microseconds=1_000)
        uuid = str(UUID(int=self._rng.getrandbits(128), version=4))
        if self._of_first and team == 2 and self._rng.random() < 0.05:
            uuid = self._of_first  # an id is a team's own
            self._of_first = ""
        user = f"user-{self._rng.randrange(USERS)}"
        event: Json = {
            "event": "page",
            "distinct_id": user,
            "uuid": uuid,
            "timestamp": self._now.isoformat(),
            "properties": {"n": self._number},
        }
        if team != LATE_TEAM and self._rng.random() < 0.02:
            return self._spoiled(event)
        if team != LATE_TEAM and self._rng.random() < 0.05:
            anonymous = f"anonymous-{self._number}"
            event |= {"event": "$identify", "properties": {"$anon_distinct_id": anonymous}}
            self.merged[team, anonymous] = user
        elif team != LATE_TEAM and self._rng.random() < 0.2:
            event["properties"] = {"$set": {"n": self._number}}
            self.latest[team, user] = self._number
        self._of_first = uuid if team == 1 else self._of_first
        (self.late if team == LATE_TEAM else self.expected).add((team, uuid))
        return event

    def _mark(self) -> str:
        self._number += 1
        mark = f"rubbish-{self._number}"
        self.rubbish.add(mark.encode())
        return mark

    def _spoiled(self, event: Json) -> Json:
        event["properties"] = {"mark": self._mark()}
        spoil = self._rng.choice(["distinct_id", "event", "uuid"])
        if spoil == "uuid":
            event["uuid"] = "no uuid"
        else:
            del event[spoil]
        return event

    def _no_message(self) -> bytes:
        mark = self._mark()
        unknown = {"api_key": "phc_nobody", "event": "page", "distinct_id": "x", "properties": {"mark": mark}}
        return self._rng.choice([f"[{mark}".encode(), f'{{"api_key": "{mark}'.encode() + b"\xff", json.dumps(unknown).encode()])


def _is_good(event: Json) -> bool:
    return {"distinct_id", "event"} <= event.keys() and event["uuid"] != "no uuid"
