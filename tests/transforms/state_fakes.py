"""State cells in memory that can be rolled back: what a runner does when a bundle fails."""

import copy


class FakeHead:
    def __init__(self) -> None:
        self.value: bytes | None = None

    def read(self) -> bytes | None:
        return self.value

    def write(self, value: bytes) -> None:
        self.value = value


class FakeLog:
    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def read(self) -> list[bytes]:
        return list(self.chunks)

    def add(self, chunk: bytes) -> None:
        self.chunks.append(chunk)

    def clear(self) -> None:
        self.chunks = []


class FakeState:
    """A shard's head and logs."""

    def __init__(self, logs: int) -> None:
        self.head = FakeHead()
        self.logs = [FakeLog() for _ in range(logs)]

    def copy(self) -> "FakeState":
        return copy.deepcopy(self)
