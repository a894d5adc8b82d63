"""A run: one launch of a job. Its id is a UUIDv7, so that it tells when the job started."""

import secrets
from hashlib import sha1
from uuid import UUID


def new_run(now: int) -> UUID:
    """Return a UUIDv7 (RFC 9562) for a run that starts `now`, microseconds since 1970."""
    milliseconds = now // 1000
    value = milliseconds << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 7 << 76
    return UUID(int=value & ~(0b11 << 62) | 0b10 << 62)


def started_at(run: UUID) -> int:
    """Return when a run started, microseconds since 1970."""
    return (run.int >> 80) * 1000


def receipt_of(run: UUID, source: str, start: int, end: int) -> int:
    """Return the receipt of what a run reads at once, `[start, end)` of a source: 64 bits, never 0, the same in each attempt."""
    name = run.bytes + start.to_bytes(8, "big") + end.to_bytes(8, "big") + source.encode()
    return int.from_bytes(sha1(name).digest()[:8], "big") or 1
