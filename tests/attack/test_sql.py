"""C8: text of users that goes into SQL. On an embedded engine a semicolon begins another statement."""

import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from pipelines.warnings import Scope, read_warnings
from schemas.errors import ConfigError, SluiceError
from tests.transforms.io.letters.tables import Tables, letter
from transforms.io.clickhouse.statements import literal
from transforms.io.letters import Selection, checked
from transforms.io.letters.selection import chosen

DROP = "DROP TABLE dead_letters"
# Each would run the statement if the text stood in SQL as it is: at the end of a condition, of a literal, of a comment, of a name.
ENDS = (
    "1", "1)", "1))", "'", "''", "\\'", "\\", "`", '"', "*/", "1 /*", "1 --", "1 --\n", "1 #",
    "1 #!\n", "$$", "$a$", "1\0", "1\r\n", "1\x85", "0 OR",
)  # fmt: skip
STATEMENTS = (
    f"; {DROP}", f";{DROP};", f"; {DROP} --", f"; {DROP} /*", f"; {DROP} #", f" PARALLEL WITH {DROP}", f"\n;\n{DROP}\n;\nSELECT (1",
)  # fmt: skip
ONE_EXPRESSION = (
    "'it; \\' )'", "$$a ; ' \" \\ ) -- b$$", "$t$ ) OR (1 $t$", "`source`", "'-- a' /* b */", "1 -- ; DROP TABLE x", "1 # )",
)  # fmt: skip
MORE_THAN_AN_EXPRESSION = (
    "1 UNION ALL SELECT 1", "1 INTERSECT SELECT 1", "1 INTO OUTFILE '/tmp/x'", "1 FORMAT Null", "1 SETTINGS max_threads = 1",
    "1 LIMIT 1", "1 ORDER BY 1", "1 FROM events", "1) FROM events WHERE (1", "1, 2", "DISTINCT 1", "1;", "(SELECT 1;)",
    "1 IN (SELECT team_id FROM events)", "(SELECT 1 FROM url('http://127.0.0.1:1/'))", "exists(SELECT 1 FROM numbers(1))",
    "arrayExists(x -> (SELECT 1 FROM numbers(1)), [1])", "{x:String}", "1\0",
    "file('/etc/hostname') != ''", "arrayJoin([1, 1])", "length(ArrayJoin([1, 1])) = 1", "sleep(1) = 0", "throwIf(1)",
    "1 + (dictGet('d', 'a', 1))",
    "joinGet('events', 'event', 1) = ''", "\ud800 = 1", "\udc80",
)  # fmt: skip


@pytest.fixture(params=["sink", "engine_url"], ids=["embedded", "server"])
def tables(request: pytest.FixtureRequest) -> Tables:
    found = Tables(request.getfixturevalue(request.param))
    found.write([letter(0)])
    return found


def is_whole(tables: Tables) -> bool:
    return tables.client.rows("SELECT count() FROM dead_letters") == [(1,)]


def test_a_condition_ends_no_statement(tables: Tables) -> None:
    tricks = ["".join(parts) for parts in product(ENDS, STATEMENTS)] + [statement.lstrip() for statement in STATEMENTS]
    tricks = tricks if tables.client.embedded else tricks[::4]
    taken = [trick for trick in tricks if not _is_refused(tables, trick)]
    assert is_whole(tables)
    for trick in taken:  # what is in a comment, or in a literal, is no statement
        list(chosen(tables.client, checked(tables.client, Selection(where=trick))))
    assert is_whole(tables)
    assert all("--" in trick or "#" in trick for trick in taken), taken


def _is_refused(tables: Tables, where: str) -> bool:
    try:
        checked(tables.client, Selection(where=where))
    except ConfigError:
        return True
    return False


def test_a_condition_is_one_expression(tables: Tables) -> None:
    assert [where for where in MORE_THAN_AN_EXPRESSION if not _is_refused(tables, where)] == []


def test_texts_and_comments_are_texts_and_comments(tables: Tables) -> None:
    for text in ONE_EXPRESSION:
        selection = checked(tables.client, Selection(where=f"toString({text}\n) != 'none'"))
        assert selection.where
        assert not {"--", "/*", "#"} & {selection.where.split("'")[-1]}, "comments are gone"
        assert checked(tables.client, selection) == selection
        assert len(list(chosen(tables.client, selection))) == 1, text


def test_literals_are_one_text(tables: Tables) -> None:
    texts = ["".join(parts) for parts in product(ENDS, STATEMENTS)] + ["\udcff\udc80", "\0", "\N{CLINKING BEER MUGS}", "\u2028", "%'\\%_"]
    for some in (texts[start : start + 50] for start in range(0, len(texts), 50)):
        (row,) = (
            tables.client.columns("SELECT " + ", ".join(f"{literal(text)} AS `{place}`" for place, text in enumerate(some))).values(),
        )
        assert [column[0].decode(errors="surrogateescape") for column in row] == some
    assert is_whole(tables)


@pytest.mark.parametrize("trick", [f"'; {DROP}; --", f"\\'; {DROP}; --", f"') OR 1; {DROP}", "\udcff", f"\0'; {DROP}"])
def test_filters_are_literals(tables: Tables, trick: str) -> None:
    assert not list(chosen(tables.client, Selection(text=trick)))
    assert not list(chosen(tables.client, Selection(step=trick)))
    assert not read_warnings(tables.client, Scope(type=trick))
    with pytest.raises(SluiceError):
        tables.client.formatted("SELECT 1", trick.replace("\udcff", ";"))
    assert is_whole(tables)


@pytest.mark.parametrize("command", [["letters"], ["letters", "--show"], ["replay", "--dry-run"]])
def test_commands_refuse_a_second_statement(sink: str, command: list[str], tmp_path: Path) -> None:
    """As the reference shows it: the view was dropped."""
    from transforms.io.clickhouse import close_all

    close_all()
    sluice = str(Path(sys.executable).with_name("sluice"))
    done = subprocess.run(
        [sluice, *command, "--sink", sink, "--where", "1; DROP TABLE letters"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert "is no condition" in done.stderr
    assert Tables(sink).client.rows("EXISTS TABLE letters") == [(1,)]
