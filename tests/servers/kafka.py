"""The real broker: Apache Kafka in KRaft mode, one node, from the jars that tests/servers/install.sh has put into the cache."""

import itertools
import subprocess
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from tenacity import Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

from schemas.errors import Unavailable
from tests.servers.process import Server, free_port, libraries
from transforms.io.kafka.brokers import ask, describe
from transforms.io.kafka.url import parse

VERSION = "4.1.2"
CLUSTER = "MkU3OEVBNTcwNTJENDM2Qg"
_numbers = itertools.count(1)
# A broker that was just started answers, but has no leader for a partition and no coordinator for a group yet.
_patient = Retrying(
    retry=retry_if_exception_type((KafkaException, Unavailable)) | retry_if_result(lambda found: found is None),
    stop=stop_after_delay(30),
    wait=wait_fixed(0.2),
    reraise=True,
)
_CONFIG = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={directory}/data
auto.create.topics.enable=false
message.max.bytes=30000000
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
num.network.threads=1
num.io.threads=2
background.threads=2
log.cleaner.enable=false
"""
_LOGGING = """\
status=error
appender.console.type=Console
appender.console.name=C
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=ERROR
rootLogger.appenderRef.c.ref=C
"""


class Kafka(Server):
    """Run a broker. What it has acknowledged is there again after it was killed and started."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._jars = libraries(f"kafka-{VERSION}")
        self._config = directory / "server.properties"
        self._logging = directory / "log4j2.properties"
        self._config.write_text(_CONFIG.format(port=self.port, controller=free_port(), directory=directory))
        self._logging.write_text(_LOGGING)
        subprocess.run(
            [*self._java(), "kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(self._config)], check=True, capture_output=True
        )

    def _java(self) -> list[str]:
        memory = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.net.preferIPv4Stack=true"]
        return ["java", *memory, f"-Dlog4j2.configurationFile={self._logging}", "-cp", f"{self._jars}/*"]

    def command(self) -> list[str]:
        return [*self._java(), "kafka.Kafka", str(self._config)]

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, topic: str, group: str = "sluice") -> str:
        """Return a topic's URL as a source."""
        return f"kafka://{self.bootstrap}/{topic}?group={group}"

    def new_topic(self, partitions: int = 2) -> str:
        """Create a topic and return its name."""
        name = f"test-{next(_numbers)}"
        admin = self.admin()  # held: what it does ends with it
        (created,) = admin.create_topics([NewTopic(name, partitions, 1)]).values()
        created.result(30)
        return name

    def remake(self, name: str, partitions: int = 1) -> None:
        """Delete a topic, and make another one of its name."""
        admin = self.admin()
        admin.delete_topics([name])[name].result(30)
        _patient(lambda: [admin.create_topics([NewTopic(name, partitions, 1)])[name].result(30)])

    def topic_id(self, name: str) -> str:
        """Return what tells a topic from another one of its name."""
        admin = self.admin()  # held: what it does ends with it
        return describe(admin, parse(self.url(name))).id

    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def committed(self, topic: str, partitions: int, group: str = "sluice") -> list[int]:
        """Return the group's offsets by partition; -1001 where there is none."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group})
        try:
            asked = [TopicPartition(topic, number) for number in range(partitions)]
            found = _patient(ask, lambda: consumer.committed(asked, timeout=10), parse(self.url(topic, group)))
            return [one.offset for one in found]
        finally:
            consumer.close()

    def ends(self, topic: str, partitions: int) -> list[int]:
        """Return the offset after the last message by partition."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "ends"})
        try:
            places = [TopicPartition(topic, number) for number in range(partitions)]
            return [_patient(consumer.get_watermark_offsets, place, timeout=10)[1] for place in places]
        finally:
            consumer.close()

    def _is_ready(self) -> bool:
        if not super()._is_ready():
            return False
        try:
            return bool(self.admin().list_topics(timeout=1).brokers)
        except KafkaException:
            return False
