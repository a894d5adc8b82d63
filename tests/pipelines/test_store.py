"""Where a job stores, checked before it starts; and the whole path as calls in one process."""

from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.generate import Plan
from pipelines.store import prepare_store
from schemas.errors import ConfigError
from tests.pipelines.test_ingest import _closed, assert_true, run  # noqa: F401 - the fixture closes the database
from tests.pipelines.test_ingest import generate as generated


@pytest.mark.parametrize(
    ("beam", "named"),
    [
        ("--runner=FlinkRunner", "--runner=FlinkRunner"),
        ("--runner=DataflowRunner", "--runner=DataflowRunner"),
        ("--direct_runner_bundle_repeat=1", "--direct_runner_bundle_repeat"),
    ],
)
def test_one_process_is_refused_where_there_are_several_or_bundles_run_again(tmp_path: Path, beam: str, named: str) -> None:
    with pytest.raises(ConfigError, match=f"--one_process with {named}"):
        prepare_store(PipelineOptions([beam], sink=f"chdb:{tmp_path / 'db'}", one_process=True))


@pytest.mark.parametrize("shards", [1, 4])
def test_the_whole_path_as_calls_gives_the_truth(tmp_path: Path, shards: int) -> None:
    truth = generated(Plan(events=6_000, out=str(tmp_path / "events"), shape="captured", duplicates=0.1, seed=5))
    db = tmp_path / "db"
    run(tmp_path / "events", db, teams=truth.teams, shards=shards, one_process=True)
    assert_true(truth, db)
