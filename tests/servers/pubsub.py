"""Google's Pub/Sub emulator. It keeps everything in memory: what it held is gone when it is killed."""

import itertools
import os
import shutil
from pathlib import Path

from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient

from tests.servers.process import Server

PROJECT = "sluice-test"
_numbers = itertools.count(1)
_SDKS = ("/usr/lib/google-cloud-sdk", "/usr/share/google-cloud-sdk", "/opt/google-cloud-sdk", str(Path.home() / "google-cloud-sdk"))
_PLACE = "platform/pubsub-emulator/bin/cloud-pubsub-emulator"


def emulator() -> str:
    """Return the program."""
    gcloud = shutil.which("gcloud")
    roots = [*_SDKS, *([str(Path(gcloud).resolve().parents[1])] if gcloud else []), os.environ.get("CLOUDSDK_ROOT_DIR", "")]
    found = [path for root in roots if root and (path := Path(root, _PLACE)).is_file()]
    if program := shutil.which("cloud-pubsub-emulator"):
        return program
    if not found:
        raise RuntimeError("Pub/Sub's emulator is missing: gcloud components install pubsub-emulator")
    return str(found[0])


class PubSub(Server):
    """Run the emulator. Clients find it by the environment variable `PUBSUB_EMULATOR_HOST`."""

    def command(self) -> list[str]:
        return [emulator(), "--host=127.0.0.1", f"--port={self.port}"]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def new_subscription(self, ack_deadline: int = 10) -> str:
        """Create a topic and a subscription of one name, and return that."""
        name = f"test-{next(_numbers)}"
        topic = f"projects/{PROJECT}/topics/{name}"
        subscription = f"projects/{PROJECT}/subscriptions/{name}"
        with PublisherClient() as publisher:
            publisher.create_topic({"name": topic})
        with SubscriberClient() as subscriber:
            subscriber.create_subscription({"name": subscription, "topic": topic, "ack_deadline_seconds": ack_deadline})
        return name

    def url(self, name: str) -> str:
        """Return a subscription's or a topic's URL."""
        return f"pubsub://{PROJECT}/{name}"
