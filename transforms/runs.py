"""A run: one launch of a job. Its id is a UUIDv7, so that it tells when the job started."""

import secrets
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
