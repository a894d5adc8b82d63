"""What reads one split of a stream in one process: it hands out receipts, and acknowledges those that are complete."""

import logging
import secrets
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from time import monotonic, time_ns
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from schemas.errors import Unavailable
from schemas.message import Messages
from transforms.activity import moves
from transforms.io.streams.in_flight import InFlight
from transforms.metrics import Lag, lags

logger = logging.getLogger(__name__)

TEND_SECONDS = 0.05  # between two looks at what is complete
ASK_SECONDS = 1.0  # between two looks at the table, for receipts that another process completes
ASK_AGE_SECONDS = 2.0  # of a receipt: younger ones are left for this process
LAG_SECONDS = 2.0  # between two looks at how far the broker is ahead
CLOSE_SECONDS = 10.0  # for a thread to end: one that waits for ClickHouse is left alone

What = TypeVar("What")


class Completed(Protocol):
    """What is used of the receipts that are complete; see transforms/receipts/completed.py."""

    def told(self, receipts: Sequence[int]) -> list[int]:
        """Return which of some receipts this process has completed."""

    def stored(self, receipts: Sequence[int]) -> list[int]:
        """Return which of some receipts the table has as complete."""


class Limits(msgspec.Struct, frozen=True):
    """How much is read at once and held.

    Attributes:
        messages, bytes: of a receipt, at most about.
        linger: seconds for which a receipt waits to be filled.
        in_flight: receipts of a split that are not acknowledged, 0 for any number: a runner with back-pressure of its own needs no limit.
        timeout: seconds after which a receipt counts as lost.
    """

    messages: int = 4_000
    bytes: int = 16 << 20
    linger: float = 0.1
    in_flight: int = 10
    timeout: float = 600.0


class Mark(msgspec.Struct, array_like=True, frozen=True):
    """Where a reader stands: how many receipts a fetcher has handed out. No fetcher is 0."""

    fetcher: int = 0
    number: int = 0


class Read(NamedTuple, Generic[What]):
    """What makes a receipt: its messages, and how they are acknowledged."""

    messages: Messages
    what: What


class Fetcher(ABC, Generic[What]):
    """Read one split of a stream. Safe to use from many threads.

    A reader tells with each poll where it stands. If that is not where this fetcher stands, the runner has gone back to an older
    state, or has given the split to another process and back: then what was handed out since, and is not complete, is read again.

    Args:
        name: of the split, for messages and metrics.
        completed: tells which receipts are complete.
        limits: how much is read.
    """

    def __init__(self, name: str, completed: Completed, limits: Limits) -> None:
        self.name = name
        self._completed = completed
        self._limits = limits
        self._id = secrets.randbits(62) + 1
        self._number = 0
        self._lock = threading.RLock()
        self._in_flight: InFlight[What] = InFlight()
        self._failure: BaseException | None = None
        self._stop = threading.Event()
        self._reading = True
        # Each waits for somebody else: the first for the broker, if at all, the second for ClickHouse, the third for the broker's figures.
        self._threads = [
            self._start("acknowledge", self._tend_always),
            self._start("ask", self._ask_always),
            self._start("measure", self._measure_always),
        ]

    # What a reader uses.

    def poll(self, at: Mark) -> tuple[Messages, Mark] | None:
        """Return the next receipt and where its reader stands then; None if there is none now. It does not wait.

        Raises:
            Unavailable: the broker is lost, or a receipt was not completed in time.
        """
        moves["asked"] += 1
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if at != Mark(self._id, self._number) and self._number:
                self._go_back(at.number if at.fetcher == self._id else 0)
            if not self._reading or 0 < self._limits.in_flight <= len(self._in_flight):
                return None
            read = self._read()
            if read is None:
                return None
            self._number += 1
            self._in_flight.add(read.messages.receipt, self._number, monotonic(), read.what)
            return read.messages, Mark(self._id, self._number)

    def mark(self) -> Mark:
        """Return where this fetcher stands."""
        return Mark(self._id, self._number)

    # What a launcher uses.

    def stop_reading(self) -> None:
        """Hand out nothing more."""
        self._reading = False

    @property
    def in_flight(self) -> int:
        """How many receipts are not acknowledged."""
        return len(self._in_flight)

    def close(self) -> None:
        """Acknowledge what is complete, give the rest back, and close the connections."""
        self.stop_reading()
        self._stop.set()
        for thread in self._threads:
            thread.join(CLOSE_SECONDS)
        with self._lock:
            if self._failure is None:
                self._tend()
                self._give_back([what for _, what in self._in_flight.drop_after(0)])
            self._disconnect()

    # What a broker's fetcher adds.

    @abstractmethod
    def _read(self) -> Read[What] | None:
        """Return what is there to be read, if it is enough or has waited long enough. It does not wait."""

    @abstractmethod
    def _acknowledge(self, done: Sequence[tuple[int, What]]) -> None:
        """Acknowledge complete receipts."""

    @abstractmethod
    def _give_back(self, dropped: Sequence[What]) -> None:
        """Have receipts that were handed out delivered again."""

    @abstractmethod
    def _lag(self) -> Lag:
        """Return how far the broker is ahead."""

    @abstractmethod
    def _disconnect(self) -> None:
        """Close the connections."""

    def _expire(self, late: Sequence[int]) -> None:
        """Deal with receipts that were not completed in time."""
        raise Unavailable(f"{self.name}: {len(late)} receipts were not completed in {self._limits.timeout:.0f} s; they are read again")

    def _tend(self) -> None:
        """Do what has to be done now and then."""
        self._settle(self._completed.told([receipt for receipt, _ in self._in_flight.all()]))

    # The threads.

    def _start(self, name: str, work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised by the next poll
                self._failure = error

        thread = threading.Thread(target=guarded, name=f"{name} {self.name}", daemon=True)
        thread.start()
        return thread

    def _tend_always(self) -> None:
        while not self._stop.wait(TEND_SECONDS):
            self._tend()

    def _ask_always(self) -> None:
        while not self._stop.wait(ASK_SECONDS):
            now = monotonic()
            self._settle(self._completed.stored(self._in_flight.older_than(now - ASK_AGE_SECONDS)))
            if late := self._in_flight.older_than(now - self._limits.timeout):
                self._expire(late)

    def _measure_always(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            lags[self.name] = self._lag()
            pause = LAG_SECONDS

    def _settle(self, receipts: Sequence[int]) -> None:
        if receipts:
            with self._lock:
                self._acknowledge(self._in_flight.complete(receipts))

    def _go_back(self, number: int) -> None:
        dropped = self._in_flight.drop_after(number)
        logger.warning("%s: the job went back; %d receipts in flight are read again", self.name, len(dropped))
        self._give_back([what for _, what in dropped])
        self._number = number
        if not number:
            self._id = secrets.randbits(62) + 1  # or readers of now and then could be taken for each other


def new_receipt() -> int:
    """Return a random 64-bit receipt."""
    return secrets.randbits(64)


def now_micros() -> int:
    """Return microseconds since 1970."""
    return time_ns() // 1000
