"""What customers are told: every type has a severity and an explanation; what is read from a real table, and how it is shown."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines.warnings import EXPLANATIONS, Scope, Severity, explain, read_warnings
from runners.cli import main
from schemas.event import IngestionWarning
from schemas.reasons import Reason, WarningType
from tests.pipelines.test_ingest import run
from tests.transforms.parse.helpers import message
from transforms.io.clickhouse import Client, close_all, shared
from transforms.sink.rows import warning_rows

NOON = 1_793_534_400_000_000  # 2026-11-01T12:00:00Z
MINUTE = 60_000_000


def store(client: Client, *warnings: IngestionWarning) -> None:
    client.insert("ingestion_warnings", warning_rows(warnings))


def warning(team: int, kind: str, key: str, minute: int, count: int = 1, details: str = "{}") -> IngestionWarning:
    return IngestionWarning(team, kind, key, details, count, NOON + minute * MINUTE, minute, 0)


@pytest.mark.parametrize("kind", [*Reason, *WarningType])
def test_every_type_has_a_severity_and_an_explanation(kind: Reason | WarningType) -> None:
    severity, means, todo = EXPLANATIONS[kind]
    assert isinstance(severity, Severity)
    assert means
    assert todo
    assert explain(kind.value, isinstance(kind, Reason)) is EXPLANATIONS[kind]
    if isinstance(kind, Reason):
        assert severity == Severity.DROPPED


def test_nothing_is_explained_that_does_not_exist() -> None:
    assert set(EXPLANATIONS) == {*Reason, *WarningType}
    assert explain("of_the_next_release", True).severity == Severity.INFO


def test_by_team_and_type_the_latest_first(client: Client) -> None:
    store(
        client,
        warning(1, "invalid_alias", "alias", 0, 5, '{"value":"old"}'),
        warning(1, "invalid_alias", "other", 9, 2, '{"value":"new"}'),
        warning(2, "missing_event_name", "", 20, 3),
    )
    store(client, warning(2, "missing_event_name", "", 20, 3))  # by a bundle that was run again
    first, second = read_warnings(client)
    assert (first.team_id, first.type, first.severity, first.count) == (2, "missing_event_name", "dropped", 3)
    assert (second.team_id, second.type, second.severity, second.count, second.keys) == (1, "invalid_alias", "modified", 7, 2)
    assert (second.first, second.last, second.details) == ("2026-11-01T12:00:00Z", "2026-11-01T12:09:00Z", '{"value":"new"}')


def test_properties_of_a_wrong_type_drop_an_event_or_only_change_it(client: Client) -> None:
    store(client, warning(1, "malformed_event_properties", "", 0), warning(1, "malformed_event_properties", "$set", 1))
    assert [group.severity for group in read_warnings(client)] == ["modified", "dropped"]


def test_scopes(client: Client) -> None:
    store(client, *(warning(team, kind, "k", minute) for minute, (team, kind) in enumerate([(1, "a"), (1, "b"), (2, "a")])))

    def found(scope: Scope) -> list[tuple[int, str]]:
        return [(group.team_id, group.type) for group in read_warnings(client, scope)]

    noon = NOON // 1_000_000
    assert found(Scope()) == [(2, "a"), (1, "b"), (1, "a")]
    assert found(Scope(team=1)) == [(1, "b"), (1, "a")]
    assert found(Scope(type="a")) == [(2, "a"), (1, "a")]
    assert found(Scope(since=noon + 60)) == [(2, "a"), (1, "b")]
    assert found(Scope(until=noon + 60)) == [(1, "a")]
    assert found(Scope(limit=1)) == [(2, "a")]
    assert found(Scope(type="it's")) == []


def test_rejections_and_changes_reach_their_team_once_an_hour(tmp_path: Path) -> None:
    (tmp_path / "teams.toml").write_text('[[teams]]\nid = 1\ntokens = ["phc_a"]\n')
    lines = [message(event="x" * 300, uuid=None, n=n) for n in range(300)] + [message(event=None, n=n) for n in range(300)]
    lines += [message(token="phc_gone", n=n) for n in range(300)]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    db = tmp_path / "db"
    run(tmp_path / "in.jsonl", db, teams=str(tmp_path / "teams.toml"), range_bytes=1 << 12)
    ((rows,),) = shared(f"chdb:{db}").rows("SELECT count() FROM ingestion_warnings")
    assert rows == 2
    close_all()
    done = CliRunner().invoke(main, ["warnings", "--sink", f"chdb:{db}", "--json"])
    assert done.exit_code == 0, done.output
    groups = json.loads(done.stdout.splitlines()[-1])["warnings"]
    assert {(group["team_id"], group["type"], group["severity"]) for group in groups} == {
        (1, "event_name_too_long", "modified"), (1, "missing_event_name", "dropped"),
    }  # fmt: skip
    text = CliRunner().invoke(main, ["warnings", "--sink", f"chdb:{db}", "--since", "2020-01-01", "--type", "missing_event_name"])
    assert "team 1  dropped   missing_event_name" in text.stdout
    assert "give each event a name" in text.stdout
    assert "event_name_too_long" not in text.stdout
    assert CliRunner().invoke(main, ["warnings", "--sink", f"chdb:{db}", "--team", "9"]).stdout == "no warnings\n"
    close_all()
