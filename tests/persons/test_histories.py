"""Random histories through the real steps, tables and views, against the model; in any order, over bundles, restarts and two jobs."""

import random
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

import pytest

from schemas.event import Batch
from schemas.persons import Kind
from schemas.teams import Registry
from tests.persons.histories import history, message
from tests.persons.jobs import Job
from tests.persons.model import Model, Told
from transforms.io.clickhouse import Client

VIEWS = {
    "person_distinct_ids": "team_id, distinct_id, person_id",
    "persons": "team_id, id, created_at, is_identified, properties",
    "groups": "team_id, group_type, group_key, created_at, group_properties",
}


def shown(client: Client) -> dict[str, list[tuple[Any, ...]]]:
    return {view: sorted(client.rows(f"SELECT {columns} FROM {view}")) for view, columns in VIEWS.items()}


def expected(told: Sequence[tuple[int, Told]]) -> dict[str, list[tuple[Any, ...]]]:
    models: dict[int, Model] = {}
    for team, event in told:
        models.setdefault(team, Model(team)).tell(event)
    every = {view: sorted(row for model in models.values() for row in getattr(model, view)()) for view in VIEWS}
    return every


def random_teams(rng: random.Random, teams: int) -> tuple[Registry, list[tuple[int, Told]]]:
    told = [(team, event) for team in range(1, teams + 1) for event in history(rng)]
    return Registry(by_token={f"phc_{team}": team for team in range(1, teams + 1)}, limits={}), told


def assert_same(found: dict[str, list[tuple[Any, ...]]], told: Sequence[tuple[int, Told]]) -> None:
    """Compare with the model; a failure shows the history of the first team that differs."""
    for view, rows in expected(told).items():
        if found[view] != rows:
            extra, missing = set(found[view]) - set(rows), set(rows) - set(found[view])
            team = min(row[0] for row in extra | missing)
            story = "\n".join(str(event) for of_team, event in told if of_team == team)
            wrong = [row for row in extra if row[0] == team]
            right = [row for row in missing if row[0] == team]
            pytest.fail(f"{view} of team {team}\nshown    {wrong}\nexpected {right}\n{story}")


@pytest.mark.parametrize("seed", range(4))
def test_the_model_agrees_on_ten_thousand_histories(client: Client, seed: int) -> None:
    """2,500 with each seed, in two bundles: the second knows what the first one said."""
    rng = random.Random(f"histories-{seed}")
    registry, told = random_teams(rng, 2_500)
    job = Job(client.where, registry, shards=1, log=False)
    payloads = [message(f"phc_{team}", event) for team, event in told]
    rng.shuffle(payloads)
    for part in range(2):
        job.run(payloads[part::2])
    found = shown(client)
    assert len(found["person_distinct_ids"]) > 2_500 < len(found["persons"])
    assert_same(found, told)


@pytest.mark.parametrize("seed", range(12))
def test_order_repeats_bundles_restarts_and_two_jobs_change_nothing(client: Client, seed: int) -> None:
    rng = random.Random(f"deliveries-{seed}")
    registry, told = random_teams(rng, 150)
    payloads = [message(f"phc_{team}", event) for team, event in told]
    payloads += rng.sample(payloads, len(payloads) // 3)
    rng.shuffle(payloads)
    jobs = [Job(client.where, registry, shards=rng.choice([1, 4, 16]), log=rng.random() < 0.5) for _ in range(2)]
    old = [job.saved() for job in jobs]
    while payloads:
        many = rng.choice([1, 10, 50, 200])
        bundle, payloads = payloads[:many], payloads[many:]
        number = rng.randrange(2)
        job = jobs[number]
        then = rng.choice(["", "", "", "fails", "rolls back"])
        job.run(bundle, then)
        if then:
            job.run(bundle)  # the runner tries again
        match rng.randrange(8):
            case 0:
                job.restart()
            case 1:
                job.lose_state()
            case 2:
                old[number] = job.saved()
            case 3:
                job.states = old[number]  # an older checkpoint, while the tables are ahead
                old[number] = job.saved()
            case 4:
                client.command("OPTIMIZE TABLE person_properties FINAL")
    assert_same(shown(client), told)


def test_the_same_again_repeats_merges_and_no_other_fact_that_a_tables_row_has(client: Client) -> None:
    """A new job reads the facts of the old one. (That a merge is old news is not known before it is read: its source is elsewhere.)"""
    registry, told = random_teams(random.Random("again"), 300)
    payloads = [message(f"phc_{team}", event) for team, event in told]

    def facts(batches: list[Batch]) -> Counter[int]:
        return Counter(fact.kind for batch in batches for fact in chain(batch.facts, *(event.facts for event in batch.events)))

    first = facts(Job(client.where, registry).run(payloads))
    rows = shown(client)
    again = facts(Job(client.where, registry, shards=16).run(payloads))
    assert first[Kind.FIRST_SEEN] > 300 < first[Kind.IDENTIFIED]
    assert [again[kind] for kind in (Kind.FIRST_SEEN, Kind.CREATED, Kind.IDENTIFIED)] == [0, 0, 0]
    assert again[Kind.LINK] == first[Kind.LINK]
    assert again[Kind.SET] + again[Kind.ONCE] < (first[Kind.SET] + first[Kind.ONCE]) / 10  # those that another id of the person said too
    assert shown(client) == rows
