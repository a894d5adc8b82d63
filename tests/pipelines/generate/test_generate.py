import json
from collections import Counter, defaultdict
from dataclasses import asdict, replace
from hashlib import sha256
from itertools import pairwise
from operator import itemgetter

import pytest

from pipelines.generate import SHAPES, Plan, generate, run
from pipelines.generate.teams import PROBES
from schemas.reasons import Reason
from schemas.teams import parse_registry
from tests.pipelines.generate.reference import Reader, messages

LOUD = {"duplicates": 0.2, "invalid": 0.3, "teams": 20, "files": 3}


def digests(folder):
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def load(folder, **values):
    """Return the summary of a load, its reader, and its events as read."""
    plan = Plan(**{"events": 3_000, "out": str(folder), **values})
    summary = generate(plan)
    reader = Reader(folder, plan.shape)
    return summary, reader, reader.seen(folder)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_plan_gives_the_same_bytes_in_any_number_of_processes(tmp_path, shape):
    plan = Plan(events=1_500, out=str(tmp_path / "1"), shape=shape, files=3, truth=str(tmp_path / "1" / "_truth.jsonl"))
    other = replace(plan, out=str(tmp_path / "2"), truth=str(tmp_path / "2" / "_truth.jsonl"))
    one, two = generate(plan, processes=1), generate(other, processes=2)
    assert digests(tmp_path / "1") == digests(tmp_path / "2")
    assert len(digests(tmp_path / "1")) == 5
    assert list(one.by_team.items()) == list(two.by_team.items()) == sorted(one.by_team.items(), key=itemgetter(0))
    generate(replace(plan, out=str(tmp_path / "3"), truth=None, seed=2))
    assert not set(digests(tmp_path / "1").values()) & set(digests(tmp_path / "3").values())


@pytest.mark.parametrize("values", [{"compression": "gzip"}, {"compression": "zstd"}, {"format": "parquet"}, {"format": "avro"}])
def test_every_format_holds_the_same_messages_and_the_same_bytes_each_time(tmp_path, values):
    lines = Plan(events=1_000, out=str(tmp_path / "lines"), files=2)
    generate(lines)
    generate(replace(lines, out=str(tmp_path / "1"), **values))
    generate(replace(lines, out=str(tmp_path / "2"), **values))
    assert messages(tmp_path / "1") == messages(tmp_path / "lines")
    assert digests(tmp_path / "1") == digests(tmp_path / "2")
    assert set(digests(tmp_path / "1")) != set(digests(tmp_path / "lines"))
    heads = [path.read_bytes()[:10] for path in (tmp_path / "1").glob("*.gz")]
    assert all(head[3:8] == bytes(5) for head in heads), "neither a name nor the time"


@pytest.mark.parametrize(("file_format", "compression"), [("avro", "gzip"), ("parquet", "gzip"), ("parquet", "zstd")])
def test_avro_and_parquet_compress_inside(tmp_path, file_format, compression):
    plan = Plan(events=1_000, out=str(tmp_path / "plain"), shape="event", format=file_format)
    small = replace(plan, out=str(tmp_path / "small"), compression=compression)
    assert generate(small).bytes < generate(plan).bytes / 3
    assert messages(tmp_path / "small") == messages(tmp_path / "plain")


def test_request_bodies_are_records_with_their_arrival(tmp_path):
    generate(Plan(events=500, out=str(tmp_path / "avro"), shape="http"))
    generate(Plan(events=500, out=str(tmp_path / "parquet"), shape="http", format="parquet"))
    assert [path.name for path in (tmp_path / "avro").glob("events-*")] == ["events-00000.avro"]
    assert messages(tmp_path / "avro") == messages(tmp_path / "parquet")
    nows = [now for _, now in messages(tmp_path / "avro")]
    assert sum(one > other for one, other in pairwise(nows)) < len(nows) / 2
    assert all(one < other for one, other in zip(nows, nows[100:], strict=False))
    assert all(now.startswith("2026-11-01T") and now.endswith("Z") for now in nows)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("days", [1, 14])
def test_the_summary_is_what_the_files_say_in_either_order(tmp_path, shape, days):
    summary, reader, seen = load(tmp_path, shape=shape, days=days, **LOUD)
    want = {team: asdict(truth) for team, truth in summary.by_team.items()}
    assert reader.recount(seen) == want
    assert reader.recount(seen[::-1]) == want
    assert len(seen) == summary.events == 3_000
    assert summary.messages == len(messages(tmp_path))
    assert summary.bytes == sum(path.stat().st_size for path in tmp_path.glob("events-*"))
    totals = [summary.stored, summary.duplicate, summary.limited, summary.rejected]
    assert sum(totals) == summary.events
    assert min(totals) > 0
    limits = Counter(reason for truth in want.values() for reason in truth["limited"])
    assert set(limits) == {"events_per_hour", "drop_tokens", "drop_distinct_ids"}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_truth_has_a_line_for_each_event(tmp_path, shape):
    truth = tmp_path / "made" / "truth.jsonl"
    summary, reader, seen = load(tmp_path / "out", shape=shape, truth=str(truth), **LOUD)
    head, *lines = [json.loads(line) for line in truth.read_text().splitlines()]
    assert [path.name for path in truth.parent.iterdir()] == ["truth.jsonl"]
    assert {name: head[name] for name in ("events", "stored", "duplicate", "limited", "rejected")} == {
        "events": 3_000,
        "stored": summary.stored,
        "duplicate": summary.duplicate,
        "limited": summary.limited,
        "rejected": summary.rejected,
    }
    assert head["by_team"] == {str(team): asdict(counts) for team, counts in summary.by_team.items()}
    wanted = Counter((each.team, *reader.outcome(each)) for each in seen)
    told = Counter((line["team_id"], "stored" if line["outcome"] == "duplicate" else line["outcome"], line["reason"]) for line in lines)
    assert told == wanted
    assert Counter((line["team_id"], line["uuid"]) for line in lines) == Counter((each.team, each.uuid) for each in seen)
    assert_once_stored(lines)
    if reader.shape in ("event", "captured"):
        assert [line["team_id"] for line in lines] == [each.team for each in seen]


def assert_once_stored(lines):
    """Each id has one line that says stored, and duplicates only beside it."""
    by_id = defaultdict(Counter)
    for line in lines:
        if line["uuid"] is not None and line["outcome"] in ("stored", "duplicate"):
            by_id[line["team_id"], line["uuid"]][line["outcome"]] += 1
    assert {counts["stored"] for counts in by_id.values()} == {1}
    assert sum(counts["duplicate"] for counts in by_id.values()) > 0


def test_the_truth_tells_what_the_quota_leaves_open(tmp_path):
    truth = tmp_path / "truth.jsonl"
    _, reader, seen = load(tmp_path / "out", truth=str(truth), **LOUD)
    head, *lines = [json.loads(line) for line in truth.read_text().splitlines()]
    quota = head["quota"]
    hours = Counter(str(each.hour * 3600) for each in seen if each.team == quota["team_id"] and not each.problem)
    assert quota == {"team_id": 2, "events_per_hour": reader.limits[2]["events_per_hour"], "hours": dict(hours)}
    open_lines = [line for line in lines if line["outcome"] is None]
    assert Counter(str(line["hour"]) for line in open_lines) == hours
    over = sum(max(0, events - quota["events_per_hour"]) for events in hours.values())
    assert head["by_team"]["2"]["limited"] == {"events_per_hour": over}
    assert 0 < over < sum(hours.values())


@pytest.mark.parametrize("shape", SHAPES)
def test_every_reason_is_given(tmp_path, shape):
    summary = generate(Plan(events=4_000, out=str(tmp_path), shape=shape, invalid=0.45))
    reasons = {reason for truth in summary.by_team.values() for reason in truth.rejected}
    missing = {Reason.UNREADABLE_FILE} if shape == "http" else {Reason.UNREADABLE_FILE, Reason.BODY_TOO_LARGE}
    assert {Reason(reason) for reason in reasons} == set(Reason) - missing


@pytest.mark.parametrize("shape", SHAPES)
def test_rates_are_near_what_was_asked(tmp_path, shape):
    summary = generate(Plan(events=10_000, out=str(tmp_path), shape=shape, duplicates=0.05, invalid=0.02))
    assert summary.duplicate / summary.events == pytest.approx(0.05, abs=0.008)
    assert summary.rejected / summary.events == pytest.approx(0.02, abs=0.005)
    quiet = generate(Plan(events=3_000, out=str(tmp_path), shape=shape, duplicates=0, invalid=0, quota=0, teams=2))
    assert (quiet.stored, quiet.duplicate, quiet.limited, quiet.rejected) == (3_000, 0, 0, 0)


def test_an_event_takes_about_950_bytes(tmp_path):
    summary = generate(Plan(events=5_000, out=str(tmp_path), shape="event", invalid=0))
    assert 900 < summary.bytes / summary.events < 1_000


def test_the_registry_is_written_beside_the_events(tmp_path):
    summary, _, seen = load(tmp_path, teams=7)
    with open(summary.teams, "rb") as file:
        registry = parse_registry(file.read(), summary.teams)
    assert set(registry.by_token.values()) == set(range(1, 8))
    assert {each.team for each in seen if not each.problem} == set(range(1, 8))


def test_duplicates_reach_over_files_and_differ_sometimes(tmp_path):
    _, _, seen = load(tmp_path, shape="event", duplicates=0.2, files=3)
    places = defaultdict(list)
    for place, each in enumerate(seen):
        if not each.problem and each.uuid:
            places[each.team, each.uuid].append(place)
    pairs = [(seen[first], seen[other], first * 3 // 3_000 != other * 3 // 3_000) for first, *rest in places.values() for other in rest]
    assert sum(apart for *_, apart in pairs) > 20
    assert 0.5 < sum(first.raw == other.raw for first, other, _ in pairs) / len(pairs) < 0.75
    for name in ("timestamp", "event", "properties"):
        assert sum(first.event.get(name) != other.event.get(name) for first, other, _ in pairs) > 20, name
    assert sum(first.distinct_id != other.distinct_id for first, other, _ in pairs) > 20


@pytest.mark.parametrize("shape", ["captured", "event"])
def test_the_bytes_do_not_depend_on_the_size_of_blocks(tmp_path, shape, monkeypatch):
    generate(Plan(events=1_000, out=str(tmp_path / "1"), shape=shape))
    monkeypatch.setattr(run, "BLOCK", 77)
    generate(Plan(events=1_000, out=str(tmp_path / "2"), shape=shape))
    assert digests(tmp_path / "1") == digests(tmp_path / "2")


def test_events_are_as_clients_send_them(tmp_path):
    _, _, seen = load(tmp_path, shape="event", events=10_000, invalid=0)
    events = [each.event for each in seen]
    names = Counter(event["event"] for event in events)
    common = ["$autocapture", "$pageview", "$pageleave", "$identify", "$groupidentify", "$set", "$create_alias", "$feature_flag_called"]
    assert all(names[name] > 3 for name in common)
    web = [event["properties"] for event in events if event["properties"]["$lib"] == "web"]
    assert len(web) > 8_000
    assert all({"$session_id", "$device_id", "$current_url", "$browser", "$os", "$referrer", "distinct_id"} <= each.keys() for each in web)
    assert all(event["properties"]["$elements_chain"] for event in events if event["event"] == "$autocapture")
    identifies = [event for event in events if event["event"] == "$identify"]
    assert all(event["properties"]["$anon_distinct_id"] != event["properties"]["distinct_id"] for event in identifies)
    assert all("$set" in event and "$set_once" in event for event in identifies)
    anonymous = [each for each in web if each["distinct_id"] == each["$device_id"]]
    assert 0.2 < len(anonymous) / len(web) < 0.8
    personless = [each for each in web if each["$process_person_profile"] is False and each["distinct_id"] not in PROBES]
    assert len(personless) > 500
    assert all(each["distinct_id"] == each["$device_id"] for each in personless)
    assert sum("$groups" in each for each in web) > 500
    assert sum("utm_source" in each for each in web) > 500
    assert 5 < sum(not event.get("uuid") for event in events) < 100
    assert 1_000 < sum(not each.raw.isascii() for each in seen) < 9_000
    assert 100 < sum(b"\\u" in each.raw for each in seen) < 2_000
    assert any(isinstance(event.get("distinct_id"), int) for event in events)


@pytest.mark.parametrize(("shape", "forms"), [("batch", 2), ("http", 6)])
def test_batches_are_as_clients_send_them(tmp_path, shape, forms):
    generate(Plan(events=5_000, out=str(tmp_path), shape=shape, invalid=0))
    bodies = [body for body, _ in messages(tmp_path)]
    assert len({form(body) for body in bodies}) == forms
    reader = Reader(tmp_path, shape)
    sizes = Counter(len(getattr(reader, "_" + shape)(body, "")) for body in bodies)
    assert min(sizes) == 1
    assert 30 < max(sizes) <= 50


def form(body):
    starts = (b"\x1f\x8b", b"data=", b"[", b'{"api_key"', b'{"batch"')
    return next((start for start in starts if body.startswith(start)), b"{")


def test_progress_counts_events(tmp_path):
    told = []
    generate(Plan(events=1_000, out=str(tmp_path), files=4), told.append)
    assert told == [250, 500, 750, 1_000]


def test_a_failure_leaves_no_half_file(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "tally_of", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        generate(Plan(events=100, out=str(tmp_path / "out")))
    assert list((tmp_path / "out").iterdir()) == []
