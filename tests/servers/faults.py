"""What a test has the server of native_server.py do wrong: a file that one writes and the other reads."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

POLL_SECONDS = 0.05


class Fault(msgspec.Struct, frozen=True):
    """What goes wrong.

    Attributes:
        delay: seconds that each statement takes longer.
        refuse, text: inserts are answered with this error, code and message.
        hold: inserts are taken in, but carried out and answered only when the fault is over.
        table: whose inserts are refused or held; of all if it is empty.
    """

    delay: float = 0.0
    refuse: int = 0
    text: str = ""
    hold: bool = False
    table: str = ""


class Faults:
    """The fault of now.

    Args:
        path: the file; there is no fault while it is not there. A file beside it, `.held`, has a byte for each insert that was held.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held = path.with_suffix(".held")

    @contextmanager
    def on(self, fault: Fault) -> Iterator[None]:
        """Have it go wrong while the block runs."""
        new = self._path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(fault))
        new.rename(self._path)
        try:
            yield
        finally:
            self._path.unlink()

    @property
    def held(self) -> int:
        """How many inserts were held, ever."""
        return self._held.stat().st_size if self._held.exists() else 0

    def at_statement(self) -> None:
        """Take longer if that is asked for."""
        time.sleep(self._now().delay)

    def at_insert(self, table: str) -> Fault:
        """Wait as long as inserts are held; return the fault that is left."""
        fault = self._now_at(table)
        if fault.hold:
            with self._held.open("ab") as held:
                held.write(b".")
        while fault.hold:
            time.sleep(POLL_SECONDS)
            fault = self._now_at(table)
        return fault

    def _now_at(self, table: str) -> Fault:
        fault = self._now()
        return fault if fault.table in ("", table) else Fault()

    def _now(self) -> Fault:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Fault)
        except FileNotFoundError:
            return Fault()
