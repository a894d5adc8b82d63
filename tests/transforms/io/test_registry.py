"""The registry file as it is read again, breaks, vanishes and comes back, by a clock that tests set."""

import logging
import pickle
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from schemas.teams import OPEN_REGISTRY
from transforms.io import registry as module
from transforms.io.registry import FileRegistry, OpenRegistry, registry_source

ONE = b"[[teams]]\nid = 1\ntokens = ['a']\n"
TWO = ONE + b"[[teams]]\nid = 2\ntokens = ['b']\n"
RUBBISH = b"<html>504 Gateway Time-out</html>"


class Clock:
    """A monotonic clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(module, "monotonic", found)
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "teams.toml"
    found.write_bytes(ONE)
    return found


def team_of(source: FileRegistry, token: str) -> int | None:
    return source.current().team_id(token)


def test_a_change_is_seen_after_the_refresh_and_not_before(clock: Clock, path: Path) -> None:
    source = FileRegistry(str(path), refresh=5.0)
    assert team_of(source, "b") is None
    path.write_bytes(TWO)
    clock.now += 4.9
    assert team_of(source, "b") is None
    clock.now += 0.1
    assert team_of(source, "b") == 2
    path.write_bytes(ONE)
    clock.now += 5.0
    assert team_of(source, "b") is None


def test_a_file_that_did_not_change_is_not_parsed_again(clock: Clock, path: Path) -> None:
    source = FileRegistry(str(path))
    first = source.current()
    for _ in range(5):
        clock.now += 100.0
        assert source.current() is first


def test_all_copies_of_a_source_in_a_process_share_one_reading(clock: Clock, path: Path) -> None:
    """Runners pickle DoFns, and make many of them."""
    source = FileRegistry(str(path), refresh=5.0)
    registry = source.current()
    path.write_bytes(TWO)
    assert pickle.loads(pickle.dumps(source)).current() is registry


def test_sources_of_other_files_are_apart(clock: Clock, path: Path) -> None:
    other = path.with_name("other.toml")
    other.write_bytes(TWO)
    assert team_of(FileRegistry(str(path)), "b") is None
    assert team_of(FileRegistry(str(other)), "b") == 2


def spoil(path: Path, how: str) -> None:
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how != "gone":
        path.write_bytes({"rubbish": RUBBISH, "empty": b"", "wrong": TWO.replace(b"id = 2", b"id = 1"), "cut": TWO[:-3]}[how])


@pytest.mark.parametrize("how", ["rubbish", "empty", "wrong", "cut", "gone", "folder"])
def test_the_last_good_content_stays_and_the_log_says_so(clock: Clock, path: Path, caplog: pytest.LogCaptureFixture, how: str) -> None:
    path.write_bytes(TWO)
    source = FileRegistry(str(path), refresh=5.0)
    good = source.current()
    spoil(path, how)
    clock.now += 5.0
    assert source.current() is good
    ((_, level, text),) = caplog.record_tuples
    assert level == logging.ERROR
    assert text.startswith(f"The last good team registry stays in force: the team registry {path} ")
    clock.now += 4.0
    assert source.current() is good
    assert len(caplog.records) == 1  # no more often than it looks
    clock.now += 1.0
    assert source.current() is good
    assert len(caplog.records) == 2


def test_a_file_that_is_mended_is_in_force_again(clock: Clock, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = FileRegistry(str(path), refresh=5.0)
    first = source.current()
    for content in (RUBBISH, ONE):
        path.write_bytes(content)
        clock.now += 5.0
        assert source.current() is first
    path.write_bytes(TWO)
    clock.now += 5.0
    assert team_of(source, "b") == 2
    assert len(caplog.records) == 1


@pytest.mark.parametrize("how", ["rubbish", "empty", "wrong", "cut", "gone", "folder"])
def test_a_file_that_could_never_be_read_is_refused_until_it_can(clock: Clock, path: Path, how: str) -> None:
    spoil(path, how)
    source = FileRegistry(str(path), refresh=5.0)
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"teams\.toml"):
            source.current()
    path.rmdir() if how == "folder" else path.unlink(missing_ok=True)
    path.write_bytes(TWO)
    assert team_of(source, "b") == 2


def test_a_file_that_is_too_large_is_refused_and_not_cut(monkeypatch: pytest.MonkeyPatch, clock: Clock, path: Path) -> None:
    """Its first half would be a registry in which teams are missing."""
    path.write_bytes(TWO)
    monkeypatch.setattr(module, "MAX_BYTES", len(ONE))
    with pytest.raises(ConfigError, match=f"larger than {len(ONE)} bytes"):
        FileRegistry(str(path)).current()
    monkeypatch.setattr(module, "MAX_BYTES", len(TWO))
    assert team_of(FileRegistry(str(path)), "b") == 2


def test_a_name_that_looks_compressed_is_read_as_it_is(clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "teams.toml.gz"
    path.write_bytes(TWO)
    assert team_of(FileRegistry(str(path)), "b") == 2


def test_open_needs_no_file() -> None:
    source = registry_source("open")
    assert isinstance(source, OpenRegistry)
    assert source.current() is OPEN_REGISTRY
    assert pickle.loads(pickle.dumps(source)) == source


def test_a_file_is_checked_when_the_job_starts(clock: Clock, path: Path) -> None:
    source = registry_source(str(path))
    assert source == FileRegistry(str(path))
    assert source.current().team_id("a") == 1


@pytest.mark.parametrize("how", ["rubbish", "empty", "wrong", "cut", "gone", "folder"])
def test_a_job_is_not_started_with_a_bad_file(path: Path, how: str) -> None:
    path.write_bytes(TWO)
    spoil(path, how)
    with pytest.raises(ConfigError, match=r"teams\.toml") as caught:
        registry_source(str(path))
    assert caught.value.hint


@pytest.mark.parametrize("teams", ["weird://bucket/teams.toml", "", "Open"])
def test_a_job_is_not_started_with_a_place_that_cannot_be_read(teams: str) -> None:
    with pytest.raises(ConfigError, match=r"the team registry .*cannot be read") as caught:
        registry_source(teams)
    assert "--teams" in caught.value.hint
