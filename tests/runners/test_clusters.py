"""Flink and Dataflow: options, and the job as far as its proto. Neither is here to run it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, StandardOptions
from apache_beam.portability import common_urns
from apache_beam.runners.portability.portable_runner import PortableRunner
from click.testing import CliRunner

from pipelines.ingest import IngestOptions, ingest, prepare
from runners import dataflow, flink
from runners.cli import main
from runners.defaults import completed
from schemas.errors import ConfigError
from tests.servers.kafka import Kafka
from transforms.io.clickhouse import close_all, shared
from transforms.io.migrate import migrate


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


def test_what_is_given_goes_before_the_defaults() -> None:
    found = completed(["--runner=FlinkRunner", "--max_bundle_size=5", "--checkpointing_interval", "100"], flink.DEFAULTS)
    assert found[:4] == ["--runner=FlinkRunner", "--max_bundle_size=5", "--checkpointing_interval", "100"]
    assert "--max_bundle_time_mills=300" in found
    assert "--streaming" in found
    assert sum(option.startswith("--max_bundle_size") for option in found) == 1


# What only Flink's job server knows: FlinkPipelineOptions, in Java.
FLINK_ONLY = {
    "checkpointing_interval",
    "state_backend",
    "max_bundle_size",
    "max_bundle_time_mills",
    "externalized_checkpoints_enabled",
    "retain_externalized_checkpoints_on_cancellation",
}


@pytest.mark.parametrize(("defaults", "others"), [(flink.DEFAULTS, FLINK_ONLY), (dataflow.DEFAULTS, set())])
def test_beam_knows_every_default(defaults: dict[str, str], others: set[str]) -> None:
    options = PipelineOptions(completed([], {name: value for name, value in defaults.items() if name not in others}))
    assert {name.removeprefix("no_") for name in defaults} - set(options.get_all_options()) <= others
    assert options.view_as(StandardOptions).streaming
    assert options.view_as(IngestOptions).in_flight == 0


def test_dataflow_is_refused_without_what_it_needs() -> None:
    arguments = ["ingest", "--source", "pubsub://p/s", "--sink", "chdb:nowhere", "--runner=DataflowRunner", "--project=p"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "Dataflow needs --region, --temp_location, --sdk_container_image" in result.stderr


def test_dataflow_is_refused_without_googles_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.dataflow", None)  # as if it were not installed
    options = ["--runner=DataflowRunner", *(f"--{name}=x" for name in dataflow.NEEDED)]
    result = CliRunner().invoke(main, ["ingest", "--source", "pubsub://p/s", "--sink", "chdb:nowhere", *options])
    assert result.exit_code == 2
    assert "pip install 'sluice[gcp]'" in result.stderr


def test_the_job_for_flink_as_its_proto(kafka: Kafka, engine_url: str, tmp_path: Path) -> None:
    migrate(shared(engine_url))
    (tmp_path / "teams.toml").write_text('[[teams]]\nid = 1\ntokens = ["phc_a"]\n')
    given = ["--runner=FlinkRunner", "--flink_master=127.0.0.1:1", "--environment_type=EXTERNAL", "--environment_config=127.0.0.1:50000"]
    sources = {"source": [kafka.url(kafka.new_topic(3))], "sink": engine_url, "teams": str(tmp_path / "teams.toml")}
    options = PipelineOptions(completed(given, flink.DEFAULTS), **sources)
    pipeline = beam.Pipeline(options=options)
    ingest(pipeline, prepare(options))
    proto = PortableRunner.get_proto_pipeline(pipeline, options)
    steps = {transform.unique_name: transform for transform in proto.components.transforms.values()}
    par_dos = {name: step.spec.payload for name, step in steps.items() if step.spec.urn == common_urns.primitives.PAR_DO.urn}
    assert {name for name, payload in par_dos.items() if _is_stateful(payload)} == {
        "ResolvePersons/ResolvePersons",
        "ApplyPersonProperties/ApplyPersonProperties",
        "StoreUnique/StoreUnique",
        "AcknowledgeReceipts/Acknowledge",
    }
    assert "ReadStream/ReadSplits/ReadUnbounded" in steps
    assert {environment.urn for environment in proto.components.environments.values()} >= {"beam:env:external:v1"}
    assert options.view_as(PortableOptions).environment_config == "127.0.0.1:50000"


def _is_stateful(payload: bytes) -> bool:
    from apache_beam.portability.api import beam_runner_api_pb2

    return bool(beam_runner_api_pb2.ParDoPayload.FromString(payload).state_specs)


def test_on_dataflow_a_subscription_is_read_by_its_own_means(engine_url: str, tmp_path: Path) -> None:
    migrate(shared(engine_url))
    (tmp_path / "teams.toml").write_text('[[teams]]\nid = 1\ntokens = ["phc_a"]\n')
    given = completed(["--runner=DataflowRunner", "--project=p", "--region=r", "--temp_location=gs://b/t"], dataflow.DEFAULTS)
    options = PipelineOptions(given, source=["pubsub://my-project/events"], sink=engine_url, teams=str(tmp_path / "teams.toml"))
    pipeline = beam.Pipeline(runner="DirectRunner", options=options)
    ingest(pipeline, prepare(options))
    steps = {transform.unique_name for transform in pipeline.to_runner_api().components.transforms.values()}
    assert {"ReadPubSub/ReadFromPubSub", "ReadPubSub/GatherMessages", "ReadPubSub/FixReceipts", "OpenReceipts/OpenReceipts"} <= steps
    assert not any(name.startswith("ReadStream") for name in steps)


def test_on_dataflow_a_job_reads_one_subscription(engine_url: str, tmp_path: Path) -> None:
    migrate(shared(engine_url))
    (tmp_path / "teams.toml").write_text('[[teams]]\nid = 1\ntokens = ["phc_a"]\n')
    sources = {"source": ["pubsub://p/s", "pubsub://p/t"], "sink": engine_url, "teams": str(tmp_path / "teams.toml")}
    with pytest.raises(ConfigError, match="several streams"):
        prepare(PipelineOptions(["--runner=DataflowRunner"], **sources))


def test_the_flex_template_names_options_that_there_are() -> None:
    template = json.loads(Path("runners/flex_template.json").read_text())
    known = PipelineOptions([]).get_all_options()
    assert {parameter["name"] for parameter in template["parameters"]} <= set(known)
    assert {"source", "sink", "teams"} <= {parameter["name"] for parameter in template["parameters"]}
