"""PostHog's clients for Python and for Node, each making the same calls."""

import os
import subprocess
from datetime import datetime
from pathlib import Path
from uuid import UUID

from posthog import Posthog

from tests.servers.process import libraries

_NODE = Path(__file__).with_name("node") / "send.js"
VERSION = "5.70.0"  # also in tests/servers/node/package.json


def send_by_python(host: str, token: str, name: str, compressed: bool, uuid: UUID, time: datetime) -> None:
    """Make the calls, and wait until all is sent.

    Args:
        name: begins all distinct ids, and is the group's key.
        uuid, time: of the event that has its own.
    """
    client = Posthog(token, host=host, gzip=compressed, enable_local_evaluation=False)
    anonymous, user = f"{name}-anonymous", f"{name}-user"
    client.capture("opened", distinct_id=anonymous, properties={"page": "/start"})
    properties = {"$set": {"email": f"{user}@example.com", "plan": "free"}, "$anon_distinct_id": anonymous}
    client.capture("$identify", distinct_id=user, properties=properties)
    client.set(distinct_id=user, properties={"seats": 5})
    client.alias(previous_id=f"{name}-before", distinct_id=f"{name}-after")
    client.group_identify("company", name, {"name": "Äcme"}, distinct_id=user)
    client.capture("joined", distinct_id=user, groups={"company": name})
    client.capture("imported", distinct_id=user, uuid=str(uuid), timestamp=time)
    client.shutdown()


def send_by_node(host: str, token: str, name: str, compressed: bool, uuid: UUID, time: datetime) -> None:
    """Make the calls in a process of Node, and wait until all is sent; see `send_by_python`."""
    modules = libraries(f"posthog-node-{VERSION}") / "node_modules"
    environment = {**os.environ, "NODE_PATH": str(modules), "EVENT_UUID": str(uuid), "EVENT_TIME": time.isoformat()}
    command = ["node", str(_NODE), host, token, name, "gzip" if compressed else "plain"]
    subprocess.run(command, env=environment, check=True, timeout=60)


SENDERS = {"python": send_by_python, "node": send_by_node}
