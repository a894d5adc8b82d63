"""`sluice letters` and `sluice replay` as their users meet them."""

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner, Result

from runners.cli import main
from transforms.io.clickhouse import close_all

SECRET = "somebody@example.com"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder with letters: three of a token that nobody knew, two without an event's name."""
    (tmp_path / "right.toml").write_text('[[teams]]\nid = 1\ntokens = ["phc_a", "phc_b"]\n')
    (tmp_path / "wrong.toml").write_text('[[teams]]\nid = 1\ntokens = ["phc_b"]\n')
    good = [{"event": "e", "uuid": str(UUID(int=n)), "token": "phc_a"} for n in range(1, 4)]
    bad = [{"uuid": str(UUID(int=n)), "token": "phc_b", "event": ""} for n in range(4, 6)]
    lines = [json.dumps({"distinct_id": SECRET, "properties": {}, **one}) for one in good + bad]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    sluice(tmp_path, "ingest", "--source", f"{tmp_path}/in.jsonl", "--teams", f"{tmp_path}/wrong.toml")
    yield tmp_path
    close_all()


def sluice(folder: Path, *arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [arguments[0], "--sink", f"chdb:{folder}/db", *arguments[1:]])
    assert result.exit_code == code, result.output + result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def as_json(result: Result) -> dict[str, object]:
    found: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
    return found


def test_letters_says_what_is_there_what_it_means_and_what_to_do(folder: Path) -> None:
    text = " ".join(sluice(folder, "letters").stdout.split())
    assert "unknown_token: 3 waiting, 0 replayed, 0 failed again, of no known team, arrived " in text
    assert "missing_event_name: 2 waiting, 0 replayed, 0 failed again, of 1 team, arrived " in text
    assert "no team of the registry has it." in text
    assert "sluice replay --reason unknown_token" in text


def test_bodies_are_shown_only_when_asked(folder: Path) -> None:
    assert SECRET not in sluice(folder, "letters").output
    assert SECRET not in sluice(folder, "letters", "--json").output
    shown = sluice(folder, "letters", "--show", "--reason", "missing_event_name", "--limit", "1").stdout
    assert SECRET in shown
    assert "team 1  missing_event_name at ParseEvents, waiting, 136 bytes\n    event is missing\n    {" in shown
    assert len(shown.splitlines()) == 3
    replayed = sluice(folder, "replay", "--teams", f"{folder}/right.toml")
    assert SECRET not in replayed.output + replayed.stderr


def test_from_a_dry_run_to_the_end(folder: Path) -> None:
    replay = ("replay", "--teams", f"{folder}/right.toml")
    dry = sluice(folder, *replay, "--dry-run").stdout
    for line in (
        "3  unknown_token, team 0", "2  missing_event_name, team 1", "5  letters would be replayed, and become now",
        "3  accepted events, to be stored unless they are duplicates or over a limit", "2  rejected again: missing_event_name",
        "The last 3 to arrive, cut to 76 characters:",
    ):  # fmt: skip
        assert line in dry
    assert as_json(sluice(folder, *replay, "--dry-run", "--json", "--team", "0")) == {
        "selected": 3, "letters": [{"team_id": 0, "reason": "unknown_token", "letters": 3}], "accepted": 3, "rejected": {},
    }  # fmt: skip
    done = sluice(folder, *replay, "--json", "--rate", "1000")
    assert done.stderr == "", "quiet where there is no terminal"
    found = as_json(done)
    assert found.pop("seconds")
    assert found == {"selected": 5, "received": 5, "stored": 3, "duplicate": 0, "limited": 0, "rejected": 2}
    text = sluice(folder, "letters").stdout
    assert "missing_event_name: 2 waiting, 0 replayed, 2 failed again" in text
    assert "unknown_token: 0 waiting, 3 replayed, 0 failed again" in text
    assert "attempt 2" in sluice(folder, "letters", "--show").stdout
    assert sluice(folder, *replay, "--reason", "unknown_token").stdout == "nothing to replay\n"
    assert sluice(folder, *replay, "--reason", "unknown_token", "--dry-run").stdout == "nothing to replay\n"
    assert as_json(sluice(folder, *replay, "--reason", "unknown_token", "--json"))["selected"] == 0
    assert "duplicate" in sluice(folder, *replay, "--reason", "unknown_token", "--include-replayed").stdout
    assert "balanced" in sluice(folder, "audit").stdout


def test_filters_are_taken(folder: Path) -> None:
    def waiting(*filters: str) -> list[str]:
        return [letter["reason"] for letter in json.loads(sluice(folder, "letters", "--show", "--json", *filters).stdout)["letters"]]

    assert waiting("--reason", "unknown_token", "--reason", "missing_token") == ["unknown_token"] * 3
    assert waiting("--team", "1") == ["missing_event_name"] * 2
    assert waiting("--text", "phc_b", "--limit", "1") == ["missing_event_name"]
    assert waiting("--where", "position(body, 'phc_a') > 0 AND attempt = 1") == ["unknown_token"] * 3
    assert waiting("--since", "2020-01-01", "--until", "2020-01-02") == waiting("--step", "Another") == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("letters", "--reason", "bad_luck"), "--reason bad_luck is none"),
        (("letters", "--where", "1) OR (1"), "--where '1) OR (1' is no condition"),
        (("letters", "--limit", "0"), "--limit is 0"),
        (("replay", "--rate", "0"), "--rate is 0"),
        (("replay", "--limit", "-1"), "--limit is -1"),
        (("replay", "--reason", "unreadable_file"), "cannot be replayed"),
        (("replay", "--where", "sauce = 1", "--dry-run"), "Unknown expression or function identifier `sauce`"),
        (("replay", "--teams", "none.toml"), "none.toml"),
        (("replay", "--shards", "3"), "shards is 3"),
    ],
)
def test_wrong_usage_is_refused_with_a_hint(folder: Path, arguments: tuple[str, ...], says: str) -> None:
    result = sluice(folder, *arguments, code=2)
    assert says in result.stderr
    assert "hint:" in result.stderr


def test_letters_of_a_sink_without_tables_are_refused(tmp_path: Path) -> None:
    assert "hint:" in sluice(tmp_path, "letters", code=2).stderr
    close_all()
