"""Prism: found, started, stopped."""

import os
import stat
from pathlib import Path

import pytest

from runners.prism import find_prism, prism
from schemas.errors import ConfigError, Unavailable


def test_it_answers_and_is_gone_afterwards() -> None:
    with prism() as (endpoint, process):
        assert endpoint.startswith("127.0.0.1:")
        assert process.poll() is None
    assert process.poll() is not None


def test_it_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_prism() == find_prism()
    monkeypatch.setenv("PATH", "")
    assert find_prism().is_file()


def test_without_go_it_cannot_be_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="there is no Go to build it with"):
        find_prism()


def test_a_name_that_is_no_program_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLUICE_PRISM", str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="which is no program"):
        find_prism()


def test_one_that_ends_at_once_is_unavailable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "prism"
    program.write_text("#!/bin/sh\nexit 3\n")
    os.chmod(program, stat.S_IRWXU)
    monkeypatch.setenv("SLUICE_PRISM", str(program))
    with pytest.raises(Unavailable, match="ended with code 3"), prism():
        pass
