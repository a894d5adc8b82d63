"""The local runner: everything in this process."""

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner

from schemas.errors import ConfigError

NAMES = {None, "local", "DirectRunner", "FnApiRunner"}


def runner(options: PipelineOptions) -> PipelineRunner | str:
    """Return the runner that the options name, or the local one.

    Beam's `DirectRunner` would first look for Prism, which nothing here needs for files: FnApiRunner is taken for it.

    Raises:
        ConfigError: several local workers: they would share the keyed state of a step without knowing.
    """
    name = options.view_as(StandardOptions).runner
    if name not in NAMES:
        return str(name)
    workers = options.view_as(DirectOptions).direct_num_workers
    if workers != 1:
        raise ConfigError(f"--direct_num_workers is {workers}", "locally there is one worker; ClickHouse uses the other cores")
    return FnApiRunner()
