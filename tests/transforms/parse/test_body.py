"""Forms and gzip are unwrapped as the standard library would do it, in bounded time and memory."""

import gzip
from urllib.parse import parse_qs, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import Rejected
from transforms.parse import body
from transforms.parse.body import inflate, unquoted, unwrap

PARTS = [b"%41", b"%7B", b"%e2%82%ac", b"+", b"%2B", b"a", b"=", b";", b"%", b"%zz", b"%4"]
encoded = st.lists(st.sampled_from(PARTS), max_size=8).map(b"".join)
fields = st.lists(st.tuples(st.sampled_from([b"data", b"ip", b"x"]), encoded), min_size=1, max_size=5)


@given(fields)
def test_the_data_of_a_form_is_that_of_the_standard_library(found: list[tuple[bytes, bytes]]) -> None:
    form = b"&".join(name + b"=" + value for name, value in found)
    expected = parse_qs(form.decode()).get("data")
    if expected is None:
        assert body._DATA.search(form) is None
        return
    text = expected[0] if expected[0][:1] in "{[" else expected[0].replace(" ", "+")
    assert body._form(form) == text.encode()


@given(st.lists(st.sampled_from([b"%", b"%41", b"%4", b"a", b"4", b"%zz", b"%e9", b"%25"]), max_size=30).map(b"".join))
def test_percent_encoding_is_that_of_the_standard_library(text: bytes) -> None:
    assert unquoted(text) == unquote_to_bytes(text)
    assert b"".join(map(body._unquoted, body._steps(text, 4))) == unquote_to_bytes(text)


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5), st.integers(1, 40))
def test_members_of_gzip_are_inflated_in_steps(parts: list[bytes], step: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(body, "_STEP", step)
        whole = b"".join(map(gzip.compress, parts))
        assert inflate(whole) == b"".join(parts)
        with pytest.raises(Rejected, match="truncated gzip"):
            inflate(whole[:-1])


def test_a_form_without_data_is_no_form() -> None:
    with pytest.raises(Rejected, match="neither JSON"):
        unwrap(b"data=&x=1")
