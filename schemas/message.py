"""What a source hands to the graph: messages as they came, and how they are acknowledged."""

import msgspec


class Origin(msgspec.Struct, array_like=True, frozen=True):
    """Where a message was when it was tried first: a replay of it must come out as that attempt would have.

    Attributes:
        source, receipt, offset: as in `Messages`, of the first attempt.
        index: the place in that message of the event that this one holds; 0 if it is that message.
        stamped: whether its arrival is that of the client's request, and not just the time of reading.
        attempts: that have failed.
    """

    source: str
    receipt: int
    offset: int
    index: int
    stamped: bool
    attempts: int = 0


class Messages(msgspec.Struct, array_like=True):
    """Raw messages that were read together and belong to one receipt.

    Attributes:
        receipt: 64-bit id of the receipt that they belong to.
        source: what they were read from: the name of a file, a topic's partition, a subscription.
        payloads: the messages' bytes as they came.
        offsets: each message's position in its source: Kafka's offset, Pub/Sub's message id, or the byte where the line starts.
        arrival: microseconds since 1970 when the messages were read; the arrival time of those without one.
        arrivals: microseconds since 1970 at which the edge or the broker took each message, 0 where neither says; empty if none does.
        rejected: the reason why the source could not decode these payloads, or "" (a broken file).
        start, end: of a stream, the positions that the receipt covers, `[start, end)`; 0 if it has none.
        origins: of dead letters that are tried again, each one's; else empty.
    """

    receipt: int
    source: str
    payloads: list[bytes]
    offsets: list[int]
    arrival: int
    arrivals: list[int] = []
    rejected: str = ""
    start: int = 0
    end: int = 0
    origins: list[Origin] = []


class FileRange(msgspec.Struct, array_like=True, frozen=True):
    """A part of a file that one worker reads: `[start, end)` in bytes, as stored.

    Attributes:
        receipt: 64-bit id, the same in every attempt of one run.
        path: the file, with its filesystem's scheme.
        format: `lines`, `gzip`, `zstd`, `avro` or `parquet`.
        start, end: the first byte, and the byte after the last; a line, block or row group belongs to the
            range in which it starts.
        size: of the file.
        arrival: microseconds since 1970; the arrival time of messages that carry none.
        name: what its messages are said to come from: the path that the file had when it was read first; "" for the path.
    """

    receipt: int
    path: str
    format: str
    start: int
    end: int
    size: int
    arrival: int
    name: str = ""
