"""Escapes that no UTF-8 text can hold become U+FFFD, and no others do."""

import json

from hypothesis import given
from hypothesis import strategies as st

from transforms.escapes import mend_escapes

PARTS = ["\\\\", "\\u0000", "\\ud83d", "\\uDE00", "\\udc00", "\\n", "a", "u0000", "ud83d", '\\"', "\\u00e9"]


@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join))
def test_what_cannot_be_held_is_replaced(inside: str) -> None:
    """As by Python's own decoder, whose text is then made fit to be encoded."""
    text: str = json.loads(f'"{inside}"').replace("\0", "\ufffd")
    mended: str = json.loads(mend_escapes(f'"{inside}"'.encode()))
    assert mended == "".join("\ufffd" if "\ud800" <= each <= "\udfff" else each for each in text)


def test_what_is_no_json_stays() -> None:
    assert mend_escapes(b'"\0\\u0000"') == b'"\0\\u0000"'
