"""Prism, Beam's runner for streams on one machine: found or built once, started on a free port, and stopped with its job."""

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
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from runners.process import die_with_parent
from schemas.errors import ConfigError, Unavailable

PACKAGE = "github.com/apache/beam/sdks/v2/go/cmd/prism"
READY_SECONDS = 20.0
STOP_SECONDS = 5.0

# What a pipeline needs to run on it. Without the experiment it splits slow bundles, and loses what they wrote to state.
OPTIONS = ("--runner=PortableRunner", "--environment_type=LOOPBACK", "--streaming", "--experiments=prism_disable_sdf_split")


def find_prism() -> Path:
    """Return the program, of the version of the Beam that is installed: `$SLUICE_PRISM`, or one built before, or built now with Go.

    Raises:
        ConfigError: there is none, and it cannot be built.
    """
    if named := os.environ.get("SLUICE_PRISM"):
        if not os.access(named, os.X_OK):
            raise ConfigError(f"SLUICE_PRISM is {named}, which is no program", "name Prism's binary, or leave it unset to have it built")
        return Path(named)
    version = apache_beam.__version__
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "sluice")
    built = cache / f"prism-{version}"
    if not built.exists():
        _build(version, built)
    return built


def _build(version: str, target: Path) -> None:
    go = shutil.which("go")
    if go is None:
        hint = "install Go, or set SLUICE_PRISM to Prism's binary from Beam's release page; or choose another --runner"
        raise ConfigError("streams run on Prism here, and there is no Go to build it with", hint)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [go, "install", f"{PACKAGE}@v{version}"]
        environment = {**os.environ, "GOBIN": folder}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise ConfigError(f"{' '.join(command)} failed: {done.stdout[-500:]}", "check the network, or set SLUICE_PRISM")
        Path(folder, "prism").rename(target)  # at once: two jobs may build it side by side


@contextmanager
def prism() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run Prism; give `host:port` of its job service, and its process. It dies with this process.

    Its ports listen on every interface: that cannot be chosen in this version. They are random, and it runs whatever job is
    submitted: keep it behind a firewall.

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
