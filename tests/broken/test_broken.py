"""Each promise of docs/guarantees.md is broken on purpose, in a copy of the code, and the tests that prove it must notice.

A patch begins with lines of text: the promise, what is broken, and `Caught by: ` with the test. When code has moved on, `git apply --3way`
in a scratch checkout and `git diff` renew it.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATCHES = sorted(Path(__file__).parent.glob("*.patch"))
COPIED = ("schemas", "transforms", "pipelines", "runners", "tests", "pyproject.toml")
FAILED = 1  # pytest's exit code for tests that failed, and nothing else


def copy(folder: Path) -> Path:
    """Return a copy of the code."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.patch"))
        else:
            shutil.copy(source, target)
    return folder


def run(tree: Path, test: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", test]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_a_broken_promise_is_noticed(patch: Path, tmp_path: Path) -> None:
    text = patch.read_text()
    caught_by = re.search(r"^Caught by: (\S+)$", text, re.M)
    assert caught_by, f"{patch.name} does not say what catches it"
    tree = copy(tmp_path)
    applied = subprocess.run(["patch", "-p1", "--forward", "--fuzz=3"], cwd=tree, input=text, capture_output=True, text=True, check=False)
    assert applied.returncode == 0, f"{patch.name} does not fit the code any more:\n{applied.stdout}{applied.stderr}"
    result = run(tree, caught_by[1])
    assert result.returncode == FAILED, f"{caught_by[1]} does not notice:\n{result.stdout[-2000:]}{result.stderr[-2000:]}"


def test_every_promise_is_broken_once() -> None:
    promised = set(re.findall(r"^## (G\d)", (ROOT / "docs/guarantees.md").read_text(), re.M))
    broken = {found for patch in PATCHES for found in re.findall(r"^Promise: (G\d)", patch.read_text(), re.M)}
    assert broken == promised
