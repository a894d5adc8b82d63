"""The job that Dataflow would get for a subscription, as a dry run of Beam's DataflowRunner builds it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2 as protos
from apache_beam.runners.pipeline_context import PipelineContext

from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.process import libraries
from transforms.io.clickhouse import close_all, shared
from transforms.io.migrate import migrate

IMAGE = "europe.example/sluice:1"
GIVEN = ["--project=my-project", "--region=europe-west1", "--temp_location=gs://bucket/tmp", f"--sdk_container_image={IMAGE}"]
STATEFUL = {
    "ResolvePersons/ResolvePersons",
    "ApplyPersonProperties/ApplyPersonProperties",
    "StoreUnique/StoreUnique",
    "AcknowledgeReceipts/Acknowledge",
}
# A running job is only updated by one whose steps have the same names. What Beam's own two transforms hold is named by Beam.
BEAMS = ("ReadPubSub/ReadFromPubSub", "ReadPubSub/FixReceipts")
STEPS = STATEFUL | {
    *BEAMS,
    "ReadPubSub/GatherMessages",
    "OpenReceipts/OpenReceipts",
    "OpenReceipts/OpenReceipts/ParDo(_OpenReceiptsFn)",
    "ParseEvents/ParseEvents",
    "ParseEvents/ParseEvents/ParDo(_ParseEventsFn)",
    "EnforceLimits/EnforceLimits",
    "ResolvePersons/SplitById",
    "ApplyPersonProperties/SplitByPerson",
    "StoreUnique/SplitByShard",
    "AcknowledgeReceipts/KeyByShard",
}


class Job:
    """What a dry run wrote."""

    def __init__(self, folder: Path) -> None:
        self.pipeline = protos.Pipeline.FromString((folder / "pipeline.pb").read_bytes())
        self.environment: dict[str, Any] = json.loads((folder / "environment.json").read_text())
        self.job: dict[str, Any] = json.loads((folder / "job.json").read_text())
        self.steps = {step.unique_name: step for step in self.pipeline.components.transforms.values()}
        self.coders = PipelineContext(self.pipeline.components).coders

    def inputs(self, step: str) -> list[Any]:
        """Return the coders of what goes into a step."""
        collections = (self.pipeline.components.pcollections[name] for name in self.steps[step].inputs.values())
        return [self.coders.get_by_id(collection.coder_id) for collection in collections]


@pytest.fixture(scope="module")
def job(engine: ClickHouseEngine, tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("dataflow")
    sink = engine.url(engine.new_database())
    migrate(shared(sink))
    close_all()
    (folder / "teams.toml").write_text('[[teams]]\nid = 1\ntokens = ["phc_a"]\n')
    ours = ["--source=pubsub://my-project/events", f"--sink={sink}", f"--teams={folder / 'teams.toml'}"]
    paths = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(Path.cwd()), str(libraries("dataflow-0.13.0"))]).strip(os.pathsep)
    command = [sys.executable, "-m", "tests.runners.dataflow_job", str(folder), *GIVEN, *ours]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, check=True, timeout=120)
    return Job(folder)


def test_dataflow_reads_the_subscription_by_its_own_means(job: Job) -> None:
    read = job.steps["ReadPubSub/ReadFromPubSub/Read"]
    assert read.spec.urn == common_urns.composites.PUBSUB_READ.urn
    payload = protos.PubSubReadPayload.FromString(read.spec.payload)
    assert payload.subscription == "projects/my-project/subscriptions/events"
    assert payload.with_attributes, "which carry the arrival time"
    assert not payload.id_attribute, "whose use would drop messages by Dataflow's judgement, not ours"
    assert job.job["type"] == "JOB_TYPE_STREAMING"


def test_steps_keep_their_names(job: Job) -> None:
    inside = tuple(f"{name}/" for name in BEAMS)
    assert {name for name in job.steps if "/" in name and not name.startswith(inside)} == STEPS
    par_dos = {name: step.spec.payload for name, step in job.steps.items() if step.spec.urn == common_urns.primitives.PAR_DO.urn}
    assert {name for name, payload in par_dos.items() if protos.ParDoPayload.FromString(payload).state_specs} == STATEFUL


def test_keys_have_deterministic_coders(job: Job) -> None:
    """Or the state of a key could not be found again on another worker."""
    shuffles = {name for name, step in job.steps.items() if step.spec.urn == common_urns.primitives.GROUP_BY_KEY.urn}
    assert shuffles == {"ReadPubSub/FixReceipts/ReshufflePerKey/GroupByKey"}
    for step in STATEFUL | shuffles:
        (coder,) = job.inputs(step)
        assert coder.is_kv_coder(), step
        assert coder.key_coder().is_deterministic(), step


def test_workers_get_the_image_and_nothing_of_the_launching_process(job: Job) -> None:
    (environment,) = job.pipeline.components.environments.values()
    assert environment.urn == common_urns.environments.DOCKER.urn
    assert protos.DockerPayload.FromString(environment.payload).container_image == IMAGE
    staged = [protos.ArtifactStagingToRolePayload.FromString(one.role_payload).staged_name for one in environment.dependencies]
    assert staged == ["submission_environment_dependencies.txt"], "a list of packages, and no pickled_main_session"


def test_options_arrive(job: Job) -> None:
    (pool,) = job.environment["workerPools"]
    assert pool["workerHarnessContainerImage"] == IMAGE
    assert pool["autoscalingSettings"]["algorithm"] == "AUTOSCALING_ALGORITHM_BASIC", "which is how THROUGHPUT_BASED is called there"
    assert {"use_runner_v2", "enable_streaming_engine"} <= set(job.environment["experiments"])
    assert job.environment["version"]["job_type"] == "FNAPI_STREAMING"
    options = job.environment["sdkPipelineOptions"]["options"]
    assert (options["in_flight"], options["source"], options["region"]) == (0, ["pubsub://my-project/events"], "europe-west1")
