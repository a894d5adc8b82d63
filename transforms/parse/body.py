"""What a client sent, unwrapped: gzip, base64 and forms around JSON."""

import base64
import binascii
import re
import zlib
from collections.abc import Iterator

import numpy as np

from schemas.errors import Rejected
from schemas.limits import MAX_BODY_BYTES
from schemas.reasons import Reason
from transforms.parse.decode import SPACE

GZIP = b"\x1f\x8b"
MAX_MEMBERS = 100  # of a gzip body: clients send one
_LAYERS = 3  # a form of base64 of gzip
_GZIP_WINDOW = 31  # zlib's code for gzip with its header
_STEP = 256 << 10  # bytes that are inflated or decoded at once: what they take meanwhile is several times as much
_DATA = re.compile(rb"(?:\A|&)data=([^&]+)")  # a form's first one that is not empty


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
    place = size = members = 0
    while place < len(payload):
        if members == MAX_MEMBERS:
            raise Rejected(Reason.MALFORMED_BODY, f"more than {MAX_MEMBERS} gzip members")
        members += 1
        member = zlib.decompressobj(_GZIP_WINDOW)
        while not member.eof:
            if place >= len(payload):
                raise Rejected(Reason.MALFORMED_BODY, f"truncated gzip: it ends after {size} bytes")
            given = payload[place : place + _STEP]
            try:
                parts.append(member.decompress(given, limit + 1 - size))
            except zlib.error as error:
                raise Rejected(Reason.MALFORMED_BODY, f"broken gzip: {error}") from None
            size += len(parts[-1])
            if size > limit:
                raise Rejected(Reason.BODY_TOO_LARGE, f"the body inflates to more than {limit} bytes")
            place += len(given) - len(member.unused_data)
    return b"".join(parts)


def _decoded(payload: bytes) -> bytes:
    """Return what a form or base64 holds."""
    if not payload:
        raise Rejected(Reason.MALFORMED_BODY, "the body is empty")
    if (data := _form(payload)) is not None:
        return data
    try:
        return base64.b64decode(payload + b"=" * (-len(payload) % 4), validate=True)
    except binascii.Error:
        raise Rejected(Reason.MALFORMED_BODY, f"neither JSON, gzip, base64 nor a form: {payload[:40]!r}") from None


def _form(payload: bytes) -> bytes | None:
    """Return the data of a form, None if it is none. That of base64 may have spaces where it had `+`."""
    found = _DATA.search(payload)
    if found is None:
        return None
    data = unquoted(found[1].replace(b"+", b" ")).decode(errors="replace").encode()
    return data if data[:1] in (b"{", b"[") else data.replace(b" ", b"+")


def unquoted(text: bytes) -> bytes:
    """Return what percent-encoding stands for, as `urllib.parse.unquote_to_bytes`, which takes half a second for a million of `%`."""
    return b"".join(map(_unquoted, _steps(text, _STEP)))


def _steps(text: bytes, size: int) -> Iterator[bytes]:
    """Yield a text in parts of a size, none of which ends within an escape."""
    start = 0
    while start < len(text):
        end = min(start + size, len(text))
        cut = text.rfind(b"%", max(start + 1, end - 2), end)
        end = cut if cut >= 0 and end < len(text) else end
        yield text[start:end]
        start = end


_HEX = np.full(256, -1, np.int16)
for _digits in ("0123456789abcdef", "0123456789ABCDEF"):
    _HEX[list(_digits.encode())] = range(16)


def _unquoted(text: bytes) -> bytes:
    if b"%" not in text or len(text) < 3:
        return text
    found = np.frombuffer(text, np.uint8).copy()
    high, low = _HEX[found[1:-1]], _HEX[found[2:]]
    places = np.flatnonzero((found[:-2] == ord("%")) & (high >= 0) & (low >= 0))
    found[places] = high[places] << 4 | low[places]
    kept = np.ones(len(found), bool)
    kept[places + 1] = kept[places + 2] = False
    return found[kept].tobytes()
