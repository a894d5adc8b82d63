"""What a client sent, unwrapped: gzip, base64 and forms around JSON."""

import base64
import binascii
import zlib
from urllib.parse import parse_qs

from schemas.errors import Rejected
from schemas.limits import MAX_BODY_BYTES
from schemas.reasons import Reason
from transforms.parse.decode import SPACE

GZIP = b"\x1f\x8b"
MAX_MEMBERS = 100  # of a gzip body: clients send one, and each costs a copy of what follows
_LAYERS = 3  # a form of base64 of gzip
_GZIP_WINDOW = 31  # zlib's code for gzip with its header


def unwrap(payload: bytes) -> bytes:
    """Return the JSON text of a request's body, whatever its headers claimed.

    Raises:
        Rejected: body_too_large, or malformed_body if it is no JSON, however it is unwrapped.
    """
    for _ in range(_LAYERS + 1):
        if len(payload) > MAX_BODY_BYTES:
            raise Rejected(Reason.BODY_TOO_LARGE, f"the body has {len(payload)} bytes, the limit is {MAX_BODY_BYTES}")
        if payload[:2] == GZIP:
            payload = inflate(payload)
            continue
        payload = payload.strip(SPACE).removeprefix(b"\xef\xbb\xbf")
        if payload[:1] in (b"{", b"["):
            return payload
        payload = _decoded(payload)
    raise Rejected(Reason.MALFORMED_BODY, f"not JSON after {_LAYERS} layers of gzip, base64 and forms")


def inflate(payload: bytes, limit: int = MAX_BODY_BYTES) -> bytes:
    """Return what gzip members hold; never more than a little over `limit` bytes are made.

    Raises:
        Rejected: body_too_large, or malformed_body if it is broken or ends early.
    """
    parts: list[bytes] = []
    size = 0
    while payload:
        if len(parts) == MAX_MEMBERS:
            raise Rejected(Reason.MALFORMED_BODY, f"more than {MAX_MEMBERS} gzip members")
        member = zlib.decompressobj(_GZIP_WINDOW)
        try:
            parts.append(member.decompress(payload, limit + 1 - size))
        except zlib.error as error:
            raise Rejected(Reason.MALFORMED_BODY, f"broken gzip: {error}") from None
        size += len(parts[-1])
        if size > limit:
            raise Rejected(Reason.BODY_TOO_LARGE, f"the body inflates to more than {limit} bytes")
        if not member.eof:
            raise Rejected(Reason.MALFORMED_BODY, f"truncated gzip: it ends after {size} bytes")
        payload = member.unused_data
    return b"".join(parts)


def _decoded(payload: bytes) -> bytes:
    """Return what a form or base64 holds."""
    if not payload:
        raise Rejected(Reason.MALFORMED_BODY, "the body is empty")
    if payload.startswith(b"data=") or b"&data=" in payload:
        fields = parse_qs(payload.decode(errors="replace"))  # bounded by the body's size: a limit of its own would raise ValueError
        if "data" in fields:
            return fields["data"][0].replace(" ", "+").encode() if fields["data"][0][:1] not in "{[" else fields["data"][0].encode()
    try:
        return base64.b64decode(payload + b"=" * (-len(payload) % 4), validate=True)
    except binascii.Error:
        raise Rejected(Reason.MALFORMED_BODY, f"neither JSON, gzip, base64 nor a form: {payload[:40]!r}") from None
