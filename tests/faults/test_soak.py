"""A steady rate for two minutes (`make soak`: ten): memory stays flat, and events can be queried soon."""

import os
from pathlib import Path

import pytest

from benchmarks.stream import run
from tests.faults.streams import KafkaTopic
from tests.servers.kafka import Kafka

SECONDS = float(os.environ.get("SOAK_SECONDS", "120"))


@pytest.mark.alone
@pytest.mark.timeout(SECONDS + 300)
def test_memory_is_flat_and_latency_low(kafka: Kafka, tmp_path: Path) -> None:
    found = run(KafkaTopic(kafka), tmp_path, backlog=5_000, rate=1_000, seconds=SECONDS)
    _, middle, end = found["worker MiB, medians of thirds"]
    assert end < middle * 1.25 + 50, found
    assert found["runner MiB"] < 400, found
    assert found["p99, s"] < 10, found
