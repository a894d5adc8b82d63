"""What PostHog's clients for Python and Node send now, put as raw bodies on a topic, arrives as what they were called with: once."""

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from uuid import UUID, uuid5

import pytest

from pipelines.audit import audit
from tests.faults.streams import KafkaTopic, Stream, new_tables
from tests.servers.capture import Capture, Request
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.clients import SENDERS
from tests.servers.kafka import Kafka
from tests.servers.process import wait_until
from transforms.io.clickhouse import Client, connect

TOKEN = "phc_live"
OWN = UUID("3f1f1f0a-7d3c-4a54-9c44-6f6b1f4f9a10")
YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).replace(microsecond=123_000)
# client, whether it compresses, whether its first request is refused
SCENES = list(product(SENDERS, [True, False], [True, False]))


def name_of(client: str, compressed: bool, refused: bool) -> str:
    return f"{client}-{'gzip' if compressed else 'plain'}-{'refused' if refused else 'taken'}"


def text_of(body: bytes) -> bytes:
    return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body


class Arrived:
    """Each scene's requests, and what is in the tables; the views of persons are read once for all."""

    def __init__(self, client: Client, requests: dict[str, list[Request]]) -> None:
        self.requests = requests
        self.rows = client.rows
        self.audit = audit(client)
        self.person_of: dict[str, Any] = dict(client.rows("SELECT distinct_id, person_id FROM person_distinct_ids"))
        self.persons = {row[0]: row[1:] for row in client.rows("SELECT id, is_identified, properties FROM persons")}
        self.companies: dict[str, str] = dict(client.rows("SELECT group_key, group_properties FROM groups WHERE group_type = 'company'"))


@pytest.fixture(scope="module")
def arrived(kafka: Kafka, engine: ClickHouseEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arrived]:
    """Have all clients make their calls, and the requests ingested by one job."""
    folder, topic, sink = tmp_path_factory.mktemp("clients"), KafkaTopic(kafka), new_tables(engine)
    (folder / "teams.toml").write_text(f'[[teams]]\nid = 3\ntokens = ["{TOKEN}"]\n')
    stream = Stream(topic, sink, str(folder / "teams.toml"), folder)
    requests = {}
    try:
        with Capture(kafka.bootstrap, topic.to.rpartition("/")[2]) as capture:
            for client, compressed, refused in SCENES:
                if refused:
                    capture.refuse_next()
                name, before = name_of(client, compressed, refused), len(capture.requests)
                SENDERS[client](capture.url, TOKEN, name, compressed, uuid5(OWN, name), YESTERDAY)
                requests[name] = capture.requests[before:]
        sent = sum(map(len, requests.values()))
        wait_until(lambda: topic.done() == sent, 60, "all acknowledgements")
        assert stream.stop() == 0
    finally:
        stream.destroy()
    client = connect(sink)
    yield Arrived(client, requests)
    client.close()


@pytest.mark.parametrize(("client", "compressed", "refused"), SCENES)
def test_what_was_called_for_is_there_once(arrived: Arrived, client: str, compressed: bool, refused: bool) -> None:
    name = name_of(client, compressed, refused)
    anonymous, user = f"{name}-anonymous", f"{name}-user"
    aliased = f"{name}-before"
    expected = [("$create_alias", aliased), *((event, user) for event in ("$groupidentify", "$identify", "$set", "imported", "joined"))]
    found = arrived.rows(f"SELECT event, distinct_id FROM events WHERE startsWith(distinct_id, '{name}-') ORDER BY event, distinct_id")
    assert found == [*expected, ("opened", anonymous)]
    ((uuid, time),) = arrived.rows(f"SELECT uuid, timestamp FROM events WHERE event = 'imported' AND distinct_id = '{user}'")
    assert uuid == uuid5(OWN, name)
    assert abs(time - YESTERDAY) < timedelta(minutes=1), "corrected by what the client's clock and the broker's differ"
    ((properties,),) = arrived.rows(f"SELECT properties FROM events WHERE event = 'opened' AND distinct_id = '{anonymous}'")
    assert json.loads(properties)["page"] == "/start"
    assert json.loads(properties)["$lib"] == f"posthog-{client}"


@pytest.mark.parametrize(("client", "compressed", "refused"), SCENES)
def test_persons_and_groups_are_what_was_called_for(arrived: Arrived, client: str, compressed: bool, refused: bool) -> None:
    name = name_of(client, compressed, refused)
    persons = {role: arrived.person_of[f"{name}-{role}"] for role in ("anonymous", "user", "before", "after")}
    assert persons["anonymous"] == persons["user"] != persons["before"] == persons["after"]
    is_identified, properties = arrived.persons[persons["user"]]
    assert is_identified
    named = {key: value for key, value in json.loads(properties).items() if "$" not in key}  # clients add $os and its like
    assert named == {"email": f"{name}-user@example.com", "plan": "free", "seats": 5}
    assert json.loads(arrived.companies[name]) == {"name": "Äcme"}


@pytest.mark.parametrize(("client", "compressed", "refused"), SCENES)
def test_the_requests_were_what_they_are_taken_for(arrived: Arrived, client: str, compressed: bool, refused: bool) -> None:
    """Otherwise the other tests would say nothing: about this client, about gzip, about tries."""
    requests = arrived.requests[name_of(client, compressed, refused)]
    assert {request.path for request in requests} == {"/batch/"}, "no flags were asked for"
    assert all(request.agent.startswith(f"posthog-{client}/") for request in requests)
    assert all((text_of(request.body) != request.body) == compressed == (request.encoding == "gzip") for request in requests)
    assert [request.status for request in requests] == [503] * refused + [200] * (len(requests) - refused)
    assert len(requests) > refused


def test_what_was_sent_again_counts_as_duplicate(arrived: Arrived) -> None:
    found = arrived.audit
    assert found.balanced
    assert (found.stored, found.limited, found.rejected) == (7 * len(SCENES), 0, 0)
    refused = [request.body for requests in arrived.requests.values() for request in requests if request.status == 503]
    assert len(refused) == len(SCENES) / 2
    assert found.duplicate == sum(len(json.loads(text_of(body))["batch"]) for body in refused) > 0
    assert arrived.rows("SELECT count() FROM dead_letters") == [(0,)]
