"""What a job changes in its process, and leaves as it was."""

import gc
import subprocess
import sys

import pyarrow as pa

from runners.tuning import tuned

# In a process of its own: Beam's class keeps what it is told.
SCRIPT = """
from apache_beam.runners.worker.statesampler import StateSampler
from apache_beam.utils.counters import CounterFactory
from runners.tuning import SAMPLING_MS, sample_often
before = StateSampler("x", CounterFactory()).sampling_period_ms
sample_often()
print(before, StateSampler("x", CounterFactory()).sampling_period_ms == SAMPLING_MS)
"""


def test_memory_is_as_it_was_afterwards() -> None:
    before = gc.get_threshold(), pa.default_memory_pool().backend_name, gc.get_freeze_count()
    with tuned():
        assert gc.get_freeze_count() > before[2]
        assert pa.default_memory_pool().backend_name == "system"
    assert (gc.get_threshold(), pa.default_memory_pool().backend_name, gc.get_freeze_count()) == before


def test_beams_sampler_is_still_the_one_that_is_tuned() -> None:
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", SCRIPT], check=True, stdout=subprocess.PIPE, text=True)
    assert found.stdout.split() == ["200", "True"]
