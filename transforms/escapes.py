"""JSON in, JSON out whose escapes any UTF-8 text can hold."""

import re

# A backslash with what it escapes; a high surrogate takes the low one that follows along.
_ESCAPES = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\(?:u[0-9a-fA-F]{4}|.)", re.S)


def mend_escapes(raw: bytes) -> bytes:
    """Return JSON whose escaped NULs and lone surrogates, which no UTF-8 text can hold, are U+FFFD."""
    return _ESCAPES.sub(_mended, raw)


def _mended(found: re.Match[bytes]) -> bytes:
    text = found[0]
    if len(text) != 6:
        return text  # a pair of surrogates, or an escape of one character
    code = int(text[2:], 16)
    return rb"\ufffd" if code == 0 or 0xD800 <= code <= 0xDFFF else text
