"""Rows of `events` that are gone can be stored again, by what docs/audit.md says (A5)."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines.audit import audit
from pipelines.compact import compact
from runners.cli import main
from tests.attack.test_files import TOKEN, events, write
from transforms.io.clickhouse import Client, close_all, shared

DOCS = Path(__file__).parents[2] / "docs" / "audit.md"
SOME = range(1, 41)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


def remedy() -> list[list[str]]:
    """Return the commands that the page names."""
    (block,) = re.findall(r"To store again what is missing[^\n]*\n```\n(.*?)```", DOCS.read_text(), re.DOTALL)
    return [shlex.split(line)[1:] for line in block.strip().splitlines()]


def run(command: list[str], sink: str, source: Path) -> None:
    here = {"chdb:db": sink, "events/": str(source)}
    result = CliRunner().invoke(main, [here.get(word, word) for word in command])
    assert result.exit_code == 0, result.output


def kinds(client: Client) -> list[tuple[str, int]]:
    return [(one.kind, one.found - one.expected) for one in audit(client).differences]


@pytest.fixture
def source(tmp_path: Path, sink: str) -> Path:
    path = write(tmp_path / "in.jsonl", events(*SOME))
    run(["ingest", "--source", "events/", "--sink", "chdb:db"], sink, path)
    return path


@pytest.mark.parametrize("loss", ["ALTER TABLE events DROP PARTITION ID '{}'", "DELETE FROM events WHERE _offset % 3 = 0 AND '{}' != ''"])
@pytest.mark.parametrize("compacted", [True, False])
def test_the_remedy_works(sink: str, source: Path, loss: str, compacted: bool) -> None:
    client = shared(sink)
    if compacted:
        compact(client)
    ((partition,),) = client.rows("SELECT DISTINCT _partition_id FROM events")
    client.command(loss.format(partition))
    ((left,),) = client.rows("SELECT count() FROM events")
    assert kinds(client) == [("rows_missing", left - len(SOME))]
    forget, again = remedy()

    run(forget, sink, source)
    assert kinds(shared(sink)) == [("rows_missing", left - len(SOME))]  # they are not there yet
    run(forget, sink, source)  # whoever is not sure
    run(again, sink, source)

    client = shared(sink)
    assert client.rows("SELECT count(), uniqExact(uuid) FROM events_unique") == [(len(SOME), len(SOME))]
    assert kinds(client) == []
    assert compact(client, full=True).found == 0
    run(again, sink, source)
    assert shared(sink).rows("SELECT count() FROM events") == [(len(SOME),)]
    assert kinds(shared(sink)) == []


def test_what_was_lost_uses_up_no_quota(sink: str, tmp_path: Path) -> None:
    """What comes again is counted until it is known as a duplicate: the quota is raised meanwhile, as the page says."""
    source = write(tmp_path / "in.jsonl", events(*SOME))
    usual, raised = tmp_path / "usual.toml", tmp_path / "raised.toml"
    team = '[[teams]]\nid = 7\ntokens = ["{}"]\n[teams.limits]\nevents_per_hour = {}\n'
    usual.write_text(team.format(TOKEN, len(SOME)))
    forget, again = remedy()
    run([*again, "--teams", str(usual)], sink, source)
    shared(sink).command("DELETE FROM events WHERE _offset % 3 = 0")
    ((left,),) = shared(sink).rows("SELECT count() FROM events")

    run(forget, sink, source)
    assert shared(sink).rows("SELECT sum(events) FROM usage") == [(left,)]
    raised.write_text(team.format(TOKEN, left + len(SOME)))
    run([*again, "--teams", str(raised)], sink, source)

    client = shared(sink)
    assert client.rows("SELECT count(), uniqExact(uuid) FROM events_unique") == [(len(SOME), len(SOME))]
    assert client.rows("SELECT sum(events) FROM usage") == [(len(SOME),)]
    assert kinds(client) == []


def test_nothing_is_forgotten_that_is_there(sink: str, source: Path) -> None:
    """Nor an id of which one row was merged away."""
    client = shared(sink)
    client.command("INSERT INTO events SELECT * REPLACE (now64(6) AS inserted_at) FROM (SELECT * FROM events LIMIT 5)")
    client.command("OPTIMIZE TABLE events FINAL")
    assert client.rows("SELECT count() FROM events") == [(len(SOME),)]
    assert compact(client, dry_run=True, lost=True).forgotten == 0
    assert compact(client, lost=True).forgotten == 0
    assert kinds(client) == []


def test_a_loss_of_a_part_of_a_dry_run_is_counted_only(sink: str, source: Path) -> None:
    client = shared(sink)
    client.command("DELETE FROM events WHERE _offset = 0")
    assert compact(client, dry_run=True, lost=True).forgotten == 1
    assert client.rows("SELECT (SELECT count() FROM event_ids), (SELECT count() FROM lost_ids)") == [(len(SOME), 0)]
