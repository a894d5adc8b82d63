"""Identities: the unique key of an event and its bucket, the id of a team in open mode."""

from hashlib import sha1

KEY_BYTES = 16
BUCKETS = 256  # `event_ids.bucket`; a job's number of shards divides it


def team_prefix(team_id: int) -> bytes:
    """Return the 8 bytes, least significant first, that stand for a team in a unique key."""
    return team_id.to_bytes(8, "little", signed=True)


def unique_key(team_id: int, uuid: bytes) -> bytes:
    """Return 16 bytes that stand for (team, uuid): the first of SHA-1(team prefix + uuid).

    Two teams cannot collide, even on purpose: that takes a second preimage of 128 bits. ClickHouse computes the same in
    `event_ids` (schemas/tables), where the first byte is the bucket.
    """
    return sha1(team_prefix(team_id) + uuid).digest()[:KEY_BYTES]


def open_team_id(token: str) -> int:
    """Return a stable, positive 48-bit team id for a token, for `--teams open`."""
    return int.from_bytes(sha1(token.encode()).digest()[:6], "big") or 1
