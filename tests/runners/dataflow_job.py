"""Build the job that Dataflow would get, by a dry run of Beam's DataflowRunner: `python -m tests.runners.dataflow_job FOLDER OPTIONS`.

It writes the pipeline, the job, and what is said of its workers into the folder; it needs no network and no credentials.
It is a process of its own: DataflowRunner needs libraries that are not in .venv (tests/servers/install.sh).
"""

import sys
from pathlib import Path

from apache_beam.runners.dataflow.internal.apiclient import Environment
from google.protobuf import json_format

from runners.template import submit


def main() -> None:
    folder, arguments = Path(sys.argv[1]), sys.argv[2:]
    job = submit([*arguments, "--dry_run=True"]).job
    (folder / "pipeline.pb").write_bytes(job.proto_pipeline.SerializeToString())
    environment = Environment([], job.options, "8", "gs://bucket/pipeline.pb", job.proto_pipeline).proto
    (folder / "environment.json").write_text(json_format.MessageToJson(type(environment).pb(environment)))
    (folder / "job.json").write_text(job.json())


if __name__ == "__main__":
    main()
