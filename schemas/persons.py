"""Facts about persons and groups: registers whose merge is `max`, and the identities that they go by (docs/persons.md)."""

from enum import IntEnum
from hashlib import sha1
from uuid import UUID

import msgspec

# PostHog's, of its plugin server: the namespace of its deterministic person ids.
_NAMESPACE = UUID("932979b4-65c3-4424-8467-0b66ec27bc22").bytes
_VERSIONED = [bytes([byte & 0x0F | 0x50]) for byte in range(256)]  # byte 6 of a UUIDv5
_VARIANT = [bytes([byte & 0x3F | 0x80]) for byte in range(256)]  # byte 8
PERSON_BYTES = 16
NO_UUID = bytes(16)

CAMPAIGN = (
    "utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_name", "utm_term", "gclid", "gad_source", "gclsrc", "dclid",
    "gbraid", "wbraid", "fbclid", "msclkid", "twclid", "li_fat_id", "mc_cid", "igshid", "ttclid", "rdt_cid", "irclid", "_kx",
    "epik", "qclid", "sccid",
)  # fmt: skip
APP = ("$app_build", "$app_name", "$app_namespace", "$app_version")
VOLATILE = (
    "$browser", "$browser_version", "$device_type", "$current_url", "$pathname", "$os", "$os_name", "$os_version", "$referring_domain",
    "$referrer", "$screen_height", "$screen_width", "$viewport_height", "$viewport_width", "$raw_user_agent",
)  # fmt: skip
COPIED = CAMPAIGN + APP + VOLATILE


def initial(name: str) -> str:
    """Return the `$initial_` name of a copied property."""
    return "$initial_" + name.removeprefix("$")


PROTECTED = frozenset({"email", "name", *COPIED, *map(initial, COPIED)})


class Kind(IntEnum):
    """What a fact says; the numbers are those of the tables' `kind`."""

    SET = 0
    ONCE = 1
    FIRST_SEEN = 2
    IDENTIFIED = 3
    LINK = 4
    FORCED = 5
    CREATED = 6  # FIRST_SEEN, repeated under the person that the distinct id was merged into


PROPERTIES = (Kind.SET, Kind.ONCE)


class Fact(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The content of a register: (order, uuid, value) of (team, distinct id, kind, key). Of two, the greater stands.

    Attributes:
        person: 16 bytes: under whom it is stored and found.
        kind: a Kind.
        key: a property's name, or the target of a forced merge.
        order: microseconds since 1970; negated where the earliest stands.
        uuid: 16 bytes.
        value: JSON, empty for unset; or the target of a link.
    """

    team_id: int
    distinct_id: str
    kind: int
    key: str
    order: int
    uuid: bytes
    value: bytes
    person: bytes


class GroupFact(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The content of a register of a group; see Fact. Kinds are SET and FIRST_SEEN."""

    team_id: int
    group_type: str
    group_key: str
    kind: int
    key: str
    order: int
    uuid: bytes
    value: bytes


def person_id(team_id: int, distinct_id: str) -> bytes:
    """Return 16 bytes: the UUIDv5 of a distinct id's own person. Its first byte is the bucket.

    No two teams share one, even on purpose: a second preimage of SHA-1 would be needed.
    """
    found = sha1(_NAMESPACE + f"{team_id}:{distinct_id}".encode()).digest()
    return b"%b%b%b%b%b" % (found[:6], _VERSIONED[found[6]], found[7:8], _VARIANT[found[8]], found[9:16])
