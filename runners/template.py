"""What a Dataflow flex template runs: `python -m runners.template --source=... --sink=... --teams=...`, with all options as Beam's."""

import sys
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult

from pipelines.ingest import ingest, prepare
from runners.dataflow import DEFAULTS
from runners.defaults import completed


def submit(arguments: Sequence[str]) -> PipelineResult:
    """Submit the job that options ask for, to Dataflow unless they name another runner."""
    options = PipelineOptions(completed(arguments, {"runner": "DataflowRunner", **DEFAULTS}))
    pipeline = beam.Pipeline(options=options)
    ingest(pipeline, prepare(options))
    return pipeline.run()


if __name__ == "__main__":
    submit(sys.argv[1:])
