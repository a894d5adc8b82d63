"""Prism, Beam's runner for streams on one machine: found or built once, started on a free port, and stopped with its job.

It and the worker that it calls run whatever code they are sent, and ask nobody for a password: both listen on 127.0.0.1 alone.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apache_beam
import grpc
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, WorkerOptions
from apache_beam.portability.api import beam_fn_api_pb2_grpc
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from apache_beam.utils import thread_pool_executor
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from runners.process import die_with_parent
from schemas.errors import ConfigError, Unavailable
from transforms.activity import outside

MODULE = "github.com/apache/beam/sdks/v2"
PACKAGE = "./go/cmd/prism"
# Where Prism's server listens, and the one line that is changed: on every interface, and on this machine's own.
SERVER = "go/pkg/beam/runners/prism/internal/jobservices/server.go"
EVERYWHERE, HERE = 'net.Listen("tcp", fmt.Sprintf(":%d", port))', 'net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))'
READY_SECONDS = 20.0
STOP_SECONDS = 5.0

# What a pipeline needs to run on it. Without the experiment it splits slow bundles, and loses what they wrote to state.
OPTIONS = ("--runner=PortableRunner", "--environment_type=EXTERNAL", "--streaming", "--experiments=prism_disable_sdf_split")


def find_prism() -> Path:
    """Return the program, of the version of the Beam that is installed: `$SLUICE_PRISM`, or one built before, or built now with Go.

    What is built here listens on 127.0.0.1; what is named may not (runners/ports.py).

    Raises:
        ConfigError: there is none, and it cannot be built.
    """
    if named := os.environ.get("SLUICE_PRISM"):
        if not os.access(named, os.X_OK):
            raise ConfigError(f"SLUICE_PRISM is {named}, which is no program", "name Prism's binary, or leave it unset to have it built")
        return Path(named)
    version = apache_beam.__version__
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "sluice")
    built = cache / f"prism-{version}-127.0.0.1"  # plain `prism-VERSION` is from before, and listens everywhere
    if not built.exists():
        _build(version, built)
    return built


def _build(version: str, target: Path) -> None:
    go = shutil.which("go")
    if go is None:
        hint = "install Go, or set SLUICE_PRISM to a Prism that listens on 127.0.0.1; or choose another --runner"
        raise ConfigError("streams run on Prism here, and there is no Go to build it with", hint)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        downloaded = _run([go, "mod", "download", "-json", f"{MODULE}@v{version}"], folder)
        source = Path(folder, "beam")
        # A copy: Go refuses to change what is in its module cache, by -overlay too.
        shutil.copytree(json.loads(downloaded)["Dir"], source, ignore=_other_languages, copy_function=shutil.copyfile)
        listen_here(source / SERVER)
        _run([go, "build", "-buildvcs=false", "-o", "../prism", PACKAGE], str(source))
        Path(folder, "prism").rename(target)  # at once: two jobs may build it side by side


def _other_languages(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name in ("java", "python", "typescript")]


def listen_here(server: Path) -> None:
    """Change the source of Prism's server so that it listens on 127.0.0.1.

    Raises:
        ConfigError: it is not the source that is known.
    """
    text = server.read_text()
    if text.count("net.Listen(") != 1 or EVERYWHERE not in text:
        raise ConfigError(f"this version's {server.name} listens in another way", "set SLUICE_PRISM to a Prism that listens on 127.0.0.1")
    server.write_text(text.replace(EVERYWHERE, HERE))


def _run(command: list[str], folder: str) -> str:
    with outside():
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"{' '.join(command)} failed: {(done.stderr or done.stdout)[-500:]}", "check the network, or set SLUICE_PRISM")
    return done.stdout


@contextmanager
def prism() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run Prism; give `host:port` of its job service, and its process. It dies with this process.

    Raises:
        ConfigError: it cannot be had.
        Unavailable: it did not start.
    """
    program, port = find_prism(), _free_port()
    command = [str(program), f"--job_port={port}", "--serve_http=false", "--log_level=error"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
    try:
        _wait_for(port, process)
        yield f"127.0.0.1:{port}", process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def serve_worker(options: PipelineOptions) -> grpc.Server:
    """Serve Prism's wish for a worker by a thread of this process, and have the options say where.

    That is Beam's own LOOPBACK environment, except that Beam's listens on every interface.
    """
    server = grpc.server(thread_pool_executor.shared_unbounded_instance())
    pool = BeamFnExternalWorkerPoolServicer(state_cache_size=options.view_as(WorkerOptions).max_cache_memory_usage_mb << 20)
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    options.view_as(PortableOptions).environment_config = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    return server


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    def answers() -> bool:
        if process.poll() is not None:
            raise Unavailable(f"Prism ended with code {process.returncode} before it was ready")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait = Retrying(retry=retry_if_result(lambda ready: not ready), stop=stop_after_delay(READY_SECONDS), wait=wait_fixed(0.05))
    try:
        wait(answers)
    except RetryError as error:
        raise Unavailable(f"Prism did not answer within {READY_SECONDS:.0f} s") from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    print(find_prism())
