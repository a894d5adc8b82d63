"""C7: a registry file that would take minutes or gigabytes to read is refused at the start, and the last good one stays in force."""

from collections.abc import Callable
from pathlib import Path
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigError
from schemas.teams import Registry, _check_cost, parse_registry
from transforms.io import registry as source
from transforms.io.registry import FileRegistry, registry_source

SECONDS = 2.0
GOOD = b'[[teams]]\nid = 1\ntokens = ["phc_a"]\n'
FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a key of dots": (lambda: b"a" + b".a" * 100_000 + b" = 1", "parts"),
    "a table of dots": (lambda: b"[a" + b" . a" * 100_000 + b"]", "parts"),
    "a list of tables of dots": (lambda: b"[[teams" + b".a" * 100_000 + b"]]", "parts"),
    "quoted parts": (lambda: b"'a'" + b'."a.b"' * 100_000 + b" = 1", "parts"),
    "a key of dots in an inline table": (lambda: b"teams = [{a" + b".a" * 100_000 + b" = 1}]", "parts"),
    "many keys in a deep table": (lambda: b"[" + b"a." * 1_000 + b"a]\n" + b"".join(b"k%d=1\n" % place for place in range(9_999)), "parts"),
    "a number": (lambda: b"teams = " + b"1" * 5_000_000, "digits"),
    "a number in parts": (lambda: b"teams = 1" + b"_1" * 2_000_000, "digits"),
    "a fraction": (lambda: b"teams = 0." + b"1" * 5_000_000, "digits"),
    "arrays": (lambda: b"teams = " + b"[" * 5_000_000, "recursion"),
    "inline tables": (lambda: b"teams = " + b"{a=" * 1_000_000, "recursion"),
    "a string that never ends": (lambda: b'teams = """' + b'"\\"' * 2_000_000, "nterminated|nclosed|Expected"),
    "quotes": (lambda: b'teams = ' + b'"' * 5_000_000, "cannot be read"),
    "a million lines of rubbish": (lambda: b"=\n" * 1_000_000, "Invalid"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_costs_too_much_is_refused_at_once(name: str) -> None:
    make, why = FILES[name]
    text, start = make(), process_time()
    with pytest.raises(ConfigError, match=why):
        parse_registry(text, "teams.toml")
    assert process_time() - start < SECONDS


def test_what_is_large_and_honest_is_read() -> None:
    name = b'name = "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t" # 1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18.19\n'
    teams = [b'[[teams]]\nid = %d\n%btokens = ["phc_%d"]\nlimits.events_per_hour = 5\n' % (place, name, place) for place in range(1, 5_001)]
    found = parse_registry(b"".join(teams), "teams.toml")
    assert found.team_id("phc_5000") == 5_000


@given(st.lists(st.sampled_from(['"""', "'''", '"', "'", "#", "\\", "\n", "a.b", "x"]), max_size=12).map("".join))
def test_any_text_in_a_string_is_no_key(text: str) -> None:
    dots = "." * 20
    for quote in ('"', "'"):
        inside = text.replace("\\", "").replace("\n", "").replace("'", "").replace('"', "")
        _check_cost(f"a = {quote}{inside}{dots}{quote}".encode())


def test_the_last_good_one_stays_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    monkeypatch.setattr(source, "monotonic", lambda: now)
    path = tmp_path / "teams.toml"
    path.write_bytes(GOOD)
    registry = FileRegistry(str(path))
    before: Registry = registry.current()
    path.write_bytes(FILES["a key of dots"][0]())
    now = 10.0
    assert registry.current() == before
    assert "The last good team registry stays in force" in caplog.text
    with pytest.raises(ConfigError, match="a key has more than 16 parts"):
        registry_source(str(path))
