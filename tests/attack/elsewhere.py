"""`main` is run in a network namespace of its own: a job on Prism, and connections to its ports from another address of the machine.

It prints a line of JSON: what the job gave, and which addresses answered, by port.
"""

import json
import os
import socket
import subprocess
import threading

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from runners.ports import listening
from runners.prism import OPTIONS, prism, serve_worker

ELSEWHERE = "203.0.113.7"  # for documentation (RFC 5737): it is nowhere else

worked, looked = threading.Event(), threading.Event()


def work(_: int) -> None:
    worked.set()  # in this process: the worker is a thread of it
    assert looked.wait(60)


def answers(address: str, port: int) -> bool:
    with socket.socket() as knock:
        knock.settimeout(5)
        return knock.connect_ex((address, port)) == 0


def main() -> None:
    for command in ("link set lo up", f"address add {ELSEWHERE}/32 dev lo"):
        subprocess.run(["ip", *command.split()], check=True)
    with prism() as (endpoint, runner):
        options = PipelineOptions([option for option in OPTIONS if option != "--streaming"] + [f"--job_endpoint={endpoint}"])
        server = serve_worker(options)
        pipeline = beam.Pipeline(options=options)
        _ = pipeline | beam.Create([1]) | beam.Map(work)
        result = pipeline.run()
        assert worked.wait(60)
        ports = {port for _, port in listening([os.getpid(), runner.pid])}
        found = {port: [address for address in ("127.0.0.1", ELSEWHERE) if answers(address, port)] for port in sorted(ports)}
        looked.set()
        print(json.dumps({"state": result.wait_until_finish(), "answered": found}), flush=True)
        server.stop(None)
    os._exit(0)  # as a worker does: Beam's threads do not end by themselves
