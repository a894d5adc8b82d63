"""The state cells of the duplicate filter: a head, and a log for each day of the ring. Both live as long as their shard."""

from apache_beam.coders import BytesCoder
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec

from transforms.dedupe.filter import RING

HEAD = ReadModifyWriteStateSpec("head", BytesCoder())  # overwritten once a batch
LOGS = tuple(BagStateSpec(f"log_{slot}", BytesCoder()) for slot in range(RING))  # each cleared when its day has passed
