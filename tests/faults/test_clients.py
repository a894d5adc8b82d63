"""What real clients sent, put as raw bodies on a topic, arrives as their events."""

from pathlib import Path

from confluent_kafka import Producer

from tests.faults.streams import KafkaTopic, Stream, new_tables, stored
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.kafka import Kafka
from tests.servers.process import wait_until
from tests.transforms.parse.test_requests import FILES, body_of, sent_in
from transforms.io.clickhouse import connect


def test_recorded_requests_through_a_topic(kafka: Kafka, engine: ClickHouseEngine, tmp_path: Path) -> None:
    topic, sink = KafkaTopic(kafka), new_tables(engine)
    (tmp_path / "teams.toml").write_text('[[teams]]\nid = 3\ntokens = ["phc_test"]\n')
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for path in FILES:
        producer.produce(topic.to.rpartition("/")[2], body_of(path))
    assert producer.flush(30) == 0
    sent = {(event["uuid"], event["event"]) for path in FILES for event in sent_in(path)}
    stream = Stream(topic, sink, str(tmp_path / "teams.toml"), tmp_path)
    try:
        wait_until(lambda: stored(engine, sink) >= len(sent), 60, "all events")
        wait_until(lambda: topic.unacknowledged() == 0, 30, "all acknowledgements")
        assert stream.stop() == 0
    finally:
        stream.destroy()
    client = connect(sink)
    assert {(str(uuid), event) for uuid, event in client.rows("SELECT uuid, event FROM events_unique")} == sent
    ((people,),) = client.rows("SELECT uniqExact(person_id) FROM person_distinct_ids WHERE distinct_id IN ('u1', 'anon1')")
    assert people == 1

    assert client.rows("SELECT group_type, group_key FROM groups") == [("company", "acme")]
    client.close()
