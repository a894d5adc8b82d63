"""A whole `sluice ingest` of events whose person has much: what the process takes (attack B2)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from transforms.io.clickhouse import Client, shared

MIB = 1 << 20
LIMIT = 1_400 * MIB  # of which the embedded engine and a worker with nothing to do have 460


def ingest(source: Path, sink: str) -> int:
    """Run the command; return the most memory that it held, in bytes."""
    command = [sys.executable, "-m", "runners", "ingest", "--source", str(source), "--sink", sink]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024


def request(token: str, events: int, name: str, properties: dict[str, object]) -> str:
    batch = [{"event": name, "distinct_id": "d", "properties": properties} for _ in range(events)]
    return json.dumps({"api_key": token, "batch": batch}) + "\n"


@pytest.mark.attack
@pytest.mark.parametrize(("size", "messages", "events"), [(200_000, 4_000, 1), (490_000, 1, 5_000)])
def test_events_of_a_fat_person_and_their_neighbours_are_stored(tmp_path: Path, size: int, messages: int, events: int) -> None:
    sink = f"chdb:{tmp_path / 'db'}"
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    first.write_text(request("phc_one", 1, "$set", {"$set": {f"k{n}": os.urandom(490).hex() for n in range(size // 1_000)}}))
    second.write_text(request("phc_one", events, "e", {}) * messages + request("phc_two", 20, "e", {}))
    ingest(first, sink)
    assert ingest(second, sink) < LIMIT
    client: Client = shared(sink)
    stored = client.rows(
        "SELECT count(), countIf(length(person_properties) > 100_000) FROM events_unique WHERE event = 'e' GROUP BY team_id"
    )
    full = messages * events if messages > 1 else 65_536_000 // (size - size % 1_000)
    assert sorted(total for total, _ in stored) == [20, messages * events]
    assert max(whole for _, whole in stored) >= full * 0.95
    client.close()
