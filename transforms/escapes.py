"""JSON in, JSON out whose escapes any UTF-8 text can hold."""

import re

# Where escaped backslashes are out of the way: NUL, a high surrogate without a low one after it, a low one without a high one before it.
_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_UNSAFE = re.compile(rb"\\u0000|%b(?!%b)|(?<!%b)%b" % (_HIGH, _LOW, _HIGH, _LOW))
_BACKSLASH, _ASIDE = rb"\\", b"\0\0"


def mend_escapes(raw: bytes) -> bytes:
    """Return JSON whose escaped NULs and lone surrogates, which no UTF-8 text can hold, are U+FFFD."""
    if b"\0" in raw:
        return raw  # it is no JSON, and no decoder takes it
    return _UNSAFE.sub(rb"\\ufffd", raw.replace(_BACKSLASH, _ASIDE)).replace(_ASIDE, _BACKSLASH)
