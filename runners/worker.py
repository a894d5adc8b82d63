"""The process that runs a stream on this machine. Its options come by standard input; it says how it is on standard output, line by line.

It lives and dies with its job: whoever started it (runners/supervisor.py) starts a new one. Nothing is lost with it: what was not
acknowledged is read again, and what it knew is in the tables.
"""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, NoReturn

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineState

from pipelines.ingest import ingest, prepare
from runners.heartbeat import EVERY_SECONDS, Heartbeat
from runners.ports import refuse_open_ports
from runners.prism import OPTIONS, prism, serve_worker
from runners.tuning import sample_often, tuned
from schemas.errors import ConfigError, SluiceError
from transforms.io.clickhouse import close_all
from transforms.io.streams import close_fetchers, fetchers
from transforms.metrics import alarms
from transforms.printable import printable_lines

SHARDS = 4  # of ids: one process has them all, and reads each back when it starts
DRAIN_SECONDS = 20.0  # for what is in flight when it shall stop
ENDED = (PipelineState.DONE, PipelineState.FAILED, PipelineState.CANCELLED)


class StreamOptions(PipelineOptions):
    """Options of a stream on this machine, besides those of the job."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--allow_open_ports", action="store_true", help="start even where others can reach the ports of Beam's runner")


def main() -> None:
    """Run a job until SIGTERM, or until it fails. Exit codes: 0 stopped, 1 failed, 2 refused."""
    heartbeat = Heartbeat()
    arguments = json.load(sys.stdin)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", force=True)  # Beam's import has set it already
    logging.getLogger("apache_beam.runners.portability.portable_runner").setLevel(logging.ERROR)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        _run(arguments["beam"], arguments["ours"], stop, heartbeat)
    except ConfigError as error:
        print(f"sluice: {printable_lines(str(error))}", file=sys.stderr)
        code = 2
    except SluiceError as error:
        print(f"sluice: {printable_lines(str(error))}", file=sys.stderr)
        code = 1
    _leave(code, heartbeat)


def _leave(code: int, heartbeat: Heartbeat) -> NoReturn:
    """End at once, and Prism with this process: Beam's threads do not end by themselves, and would complain that their runner is gone."""
    heartbeat.state = "stopping"
    heartbeat.say()
    sys.stderr.flush()
    os._exit(code)


def _run(others: list[str], ours: dict[str, Any], stop: threading.Event, heartbeat: Heartbeat) -> NoReturn:
    sample_often()
    with prism() as (endpoint, runner), tuned():
        heartbeat.runner = runner
        with _leaving_if_it_ends(runner, heartbeat):
            if not ours["sink"].startswith("chdb:"):
                ours["shards"] = ours["shards"] or SHARDS
            options = PipelineOptions([*OPTIONS, f"--job_endpoint={endpoint}", *others], one_process=True, **ours)
            pool = serve_worker(options)  # a server that nobody holds stops
            if not options.view_as(StreamOptions).allow_open_ports:
                refuse_open_ports([os.getpid(), runner.pid])
            job = prepare(options)
            pipeline = beam.Pipeline(options=options)
            ingest(pipeline, job)
            result = pipeline.run()
        heartbeat.state, heartbeat.run = "running", str(job.store.run)
        while not stop.wait(EVERY_SECONDS):
            if runner.poll() is not None or result.state in ENDED:
                _leave(_failed(result, runner), heartbeat)
        code = _stopped(runner, heartbeat)
        pool.stop(None)
        _leave(code, heartbeat)


@contextmanager
def _leaving_if_it_ends(runner: "subprocess.Popen[bytes]", heartbeat: Heartbeat) -> Iterator[None]:
    """End this process if the runner ends meanwhile: Beam, which hands the job over to it, would wait for its answer for ever."""
    over = threading.Event()

    def watch() -> None:
        code = runner.wait()
        if not over.is_set():
            print(f"sluice: the runner ended with code {code} before the job was handed over", file=sys.stderr)
            _leave(1, heartbeat)

    threading.Thread(target=watch, name="watch the runner", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _stopped(runner: "subprocess.Popen[bytes]", heartbeat: Heartbeat) -> int:
    """Read no more, finish what is in flight, give back the rest."""
    heartbeat.state = "stopping"
    for fetcher in fetchers():
        fetcher.stop_reading()
    began = monotonic()
    while any(fetcher.in_flight for fetcher in fetchers()) and monotonic() - began < DRAIN_SECONDS and runner.poll() is None:
        threading.Event().wait(0.05)
    close_fetchers()
    close_all()
    return 0


def _failed(result: beam.runners.runner.PipelineResult, runner: "subprocess.Popen[bytes]") -> int:
    what = f"the runner ended with code {runner.returncode}" if runner.poll() is not None else f"the job is {result.state}"
    print(f"sluice: {printable_lines('; '.join(alarms.values())) or f'{what}; the cause is above'}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
