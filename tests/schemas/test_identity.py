"""Identities are part of the stored data: they must be the same in every release, process and database."""

from collections import Counter
from hashlib import sha1
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.identity import BUCKETS, KEY_BYTES, open_team_id, team_prefix, unique_key

INT64 = st.integers(-(2**63), 2**63 - 1)
UUIDS = st.binary(min_size=16, max_size=16)
ID = UUID("01935b1e-7c5a-7def-8123-456789abcdef").bytes


@pytest.mark.parametrize(
    ("team", "uuid", "key"),
    [
        (1, ID, "1315a25f2e5f5934f1bcb719235152fd"),
        (2, ID, "2959f329a107fafd41f0410b062532b4"),
        (-1, ID, "98548d131bdeeb684ea7f625c769bb60"),
        (2**63 - 1, ID, "bcee0fac2ff12abf5ea0a33b2cad360d"),
        (1, bytes(16), "98da7f6b807cc76c8c3b446506aadd00"),
        (256, bytes(16), "bea1e3819f65c75508cd35568b7c3ea7"),
    ],
)
def test_keys_never_change(team: int, uuid: bytes, key: str) -> None:
    assert unique_key(team, uuid).hex() == key


def test_a_key_is_the_sha1_of_eight_bytes_of_team_and_the_uuid() -> None:
    assert unique_key(258, ID) == sha1(b"\x02\x01\x00\x00\x00\x00\x00\x00" + ID).digest()[:16]
    assert len(unique_key(1, ID)) == KEY_BYTES


@given(INT64, INT64, UUIDS)
def test_teams_never_share_a_key(one: int, other: int, uuid: bytes) -> None:
    assert (unique_key(one, uuid) == unique_key(other, uuid)) is (one == other)


@given(INT64)
def test_every_team_of_the_tables_has_a_prefix_of_its_own(team: int) -> None:
    assert int.from_bytes(team_prefix(team), "little", signed=True) == team
    assert len(team_prefix(team)) == 8


def test_keys_spread_over_the_buckets() -> None:
    found = Counter(unique_key(1, n.to_bytes(16))[0] for n in range(256 * 100))
    assert len(found) == BUCKETS
    assert 50 < min(found.values()) <= max(found.values()) < 160


@given(st.text(st.characters(codec="utf-8"), max_size=64))
def test_open_ids_are_positive_48_bit_numbers(token: str) -> None:
    """Exact in every JSON reader, and valid as ids in a registry file."""
    assert 0 < open_team_id(token) < 2**48


def test_open_ids_differ() -> None:
    assert len({open_team_id(f"phc_{n}") for n in range(50_000)}) == 50_000
