"""C7: what customers send is shown, and obeyed by no terminal; what is stored is nobody else's to read."""

import json
import os
import pty
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from runners.cli import main
from schemas.event import IngestionWarning
from schemas.message import FileRange
from tests.faults.streams import SLUICE
from tests.pipelines.test_warnings import NOON
from tests.transforms.io.letters.tables import RUN, Tables, letter
from transforms.io.clickhouse import close_all, connect
from transforms.printable import printable, printable_json, printable_lines
from transforms.receipts import Ledger
from transforms.sink.rows import warning_rows

CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
MARKS = [*range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070), 0x061C, 0xAD, 0x180E, 0xFEFF, 0xFFF9, 0xE0001, 0xE0041]
BAD = "".join(map(chr, CONTROLS + MARKS))
HALVES = "\ud800\udbff\udc80\udfff"
FINE = "Grüße, 世界 \N{CLINKING BEER MUGS} שלום"


def obeyed(text: str, also: str = "") -> set[str]:
    """Return the characters of a text that no terminal may get; lines and tabs are ours."""
    return {char for char in text if char in BAD + HALVES and char not in "\n\t" + also}


def test_all_of_them_are_escaped_and_nothing_else() -> None:
    assert [char for char in BAD + HALVES if printable(char) == char or not printable(char).isascii()] == []
    assert printable(FINE) == printable_lines(FINE) == printable_json(FINE) == FINE
    assert printable_lines(f"{FINE}\n\t{FINE}\x1b\n") == f"{FINE}\n\t{FINE}\\x1b\n"


@given(st.text(st.characters(codec="utf-8") | st.sampled_from(BAD)))
def test_json_means_the_same(text: str) -> None:
    shown = printable_json(json.dumps({text: [text]}, ensure_ascii=False))
    assert obeyed(shown) == set()
    assert json.loads(shown) == {text: [text]}


def test_half_a_pair_in_json_is_no_character() -> None:
    assert json.loads(printable_json(json.dumps(f"a{HALVES}", ensure_ascii=False))) == "a\ufffd\ufffd\ufffd\ufffd"


@pytest.fixture
def hostile(sink: str) -> str:
    """Return a sink whose tables hold such characters wherever customers, or whoever names files, can put them."""
    tables = Tables(sink)
    nasty = {"detail": f"no {BAD}", "step": f"Step{BAD}", "source": f"file{BAD}"}
    token = f'{{"api_key":"phc_{BAD[1:]}"}}'.encode()
    tables.write([letter(number, body=BAD.encode() + b"\x9b\xff" if number % 2 else token, **nasty) for number in range(150)])
    tables.client.insert(
        "ingestion_warnings", warning_rows([IngestionWarning(1, "invalid_alias", BAD, json.dumps(BAD, ensure_ascii=False), 1, NOON, 1, 0)])
    )
    Ledger(sink, str(RUN)).open_receipts([FileRange(7, f"/data/\x1b[2J{BAD}\nbalanced.jsonl", "lines", 0, 1, 1, 0)])
    return sink


COMMANDS = {
    "audit": ["audit"],
    "doctor": ["doctor"],
    "letters": ["letters"],
    "letters, shown": ["letters", "--show"],
    "replay": ["replay", "--dry-run"],
    "warnings": ["warnings"],
    "compact": ["compact", "--dry-run"],
    "squash": ["squash", "--dry-run"],
    "migrate": ["migrate"],
    "an error": ["letters", "--where", f"'{BAD}"],
    "another error": ["letters", "--reason", BAD],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_no_command_shows_what_a_terminal_obeys(hostile: str, command: list[str]) -> None:
    for shape in ([], ["--json"]):
        done = CliRunner().invoke(main, [*command, "--sink", hostile, *shape])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert done.output, "something is shown"
        assert obeyed(done.output) == set(), shape
        assert not any(line.startswith("balanced.jsonl") for line in done.output.splitlines()), "a name makes no line"
        if shape and done.exit_code != 2:
            json.loads(done.stdout.splitlines()[-1])


QUERY = f"SELECT '{BAD.replace(chr(0), '')}' || unhex('9B00ff') AS name, '{FINE}'"


def test_a_query_shows_a_terminal_nothing_to_obey_and_a_pipe_all_bytes(sink: str) -> None:
    expected = connect(sink).formatted(QUERY, "TSVRaw")
    close_all()
    command = [SLUICE, "query", "--sink", sink, "--format", "TSVRaw", QUERY]
    assert subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60).stdout == expected
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = bytearray()
        try:
            while some := os.read(ours, 1 << 16):
                shown += some
        except OSError:  # the other side is closed
            pass
        assert process.wait(60) == 0
    os.close(ours)
    assert obeyed(shown.decode(), also="\r") == set()  # the terminal itself ends lines with \r\n
    assert FINE in shown.decode()


def test_a_new_database_is_nobody_elses(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        new, old = tmp_path / "new" / "db", tmp_path / "old"
        old.mkdir(mode=0o755)
        for folder in (new, old):
            connect(f"chdb:{folder}").command("CREATE TABLE t (n Int8) ENGINE = MergeTree ORDER BY n")
            close_all()
    finally:
        os.umask(before)
        close_all()
    assert stat.S_IMODE(new.stat().st_mode) == 0o700, "so that nobody gets at the files inside"
    assert stat.S_IMODE(old.stat().st_mode) == 0o755, "who made it has decided"
