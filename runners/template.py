"""What a Dataflow flex template runs: `python -m runners.template --source=... --sink=... --teams=...`, with all options as Beam's."""

import sys

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.ingest import ingest, prepare
from runners.dataflow import DEFAULTS
from runners.defaults import completed


def main() -> None:
    """Submit the job."""
    options = PipelineOptions(completed(sys.argv[1:], {"runner": "DataflowRunner", **DEFAULTS}))
    pipeline = beam.Pipeline(options=options)
    ingest(pipeline, prepare(options))
    pipeline.run()


if __name__ == "__main__":
    main()
